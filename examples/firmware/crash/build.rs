//! Puts the memory map of the image's slot, and where retained memory lies, on the linker's search path.
use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let slot = if env::var_os("CARGO_FEATURE_SLOT_B").is_some() {
        "memory-b.x"
    } else {
        "memory-a.x"
    };
    fs::copy(slot, out.join("memory.x")).expect("the map of the slot");
    fs::copy("retained.x", out.join("retained.x")).expect("the retained section");
    println!("cargo:rustc-link-search={}", out.display());
    for file in ["memory-a.x", "memory-b.x", "retained.x"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rustc-link-arg-bins=--nmagic");
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=-Tretained.x");
}
