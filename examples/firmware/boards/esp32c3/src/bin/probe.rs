#![no_std]
#![no_main]
esp_bootloader_esp_idf::esp_app_desc!();
#[esp_hal::main]
fn main() -> ! { loop {} }
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
