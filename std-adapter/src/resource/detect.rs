//! Detectors: what the system says of the process, its host and its container.
//!
//! Input: small files under `/proc` and `/etc`, environment variables that the system sets. Output: a
//! [`Resource`] each. Bound: files are read up to 64 KiB; no command is run and nothing goes over a network.
//! What is not found is left out and is no error.
//!
//! SPEC: Resource SDK, "Detecting resource information from the environment"; Resource semantic conventions.

use super::Resource;
use crate::trace::AttributeValue;
use std::io::Read;
use std::path::Path;

/// Of the conventions that the keys are from; in each of them since long before.
const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
/// Longest file that is read.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// Finds resource attributes where the process runs; asked once, when telemetry is installed.
///
/// ```
/// use spanlet_std::resource::{Resource, ResourceDetector};
///
/// /// What the scheduler of this shop sets for each job.
/// struct Scheduler;
/// impl ResourceDetector for Scheduler {
///     fn detect(&self) -> Resource {
///         match std::env::var("SHOP_JOB_ID") {
///             Ok(job) => Resource::empty().with("shop.job.id", job),
///             Err(_) => Resource::empty(),
///         }
///     }
/// }
/// let builder = spanlet_std::Telemetry::builder().resource_detector(Scheduler);
/// # drop(builder);
/// ```
pub trait ResourceDetector {
    /// What it finds; what it does not find it leaves out. It may take a moment, and must not wait for a
    /// network without a limit: the program's start waits for it.
    fn detect(&self) -> Resource;
}

/// `host.name` and `host.arch`.
///
/// ```
/// use spanlet_std::resource::{HostDetector, ResourceDetector};
/// assert!(HostDetector.detect().get("host.arch").is_some());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct HostDetector;

/// `os.type`, and of a system with `/etc/os-release` `os.name`, `os.version` and `os.description`.
///
/// ```
/// use spanlet_std::resource::{OsDetector, ResourceDetector};
/// assert!(OsDetector.detect().get("os.type").is_some());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDetector;

/// `process.pid`, `process.executable.name` and `.path`, on Unix `process.parent_pid`.
///
/// Arguments only where [`with_arguments`](Self::with_arguments) asks for them: some hold secrets.
///
/// ```
/// use spanlet_std::resource::{ProcessDetector, ResourceDetector};
/// let found = ProcessDetector::new().detect();
/// assert_eq!(found.get("process.pid").unwrap().to_string(), std::process::id().to_string());
/// assert!(found.get("process.command_args").is_none());
/// assert!(ProcessDetector::new().with_arguments().detect().get("process.command_args").is_some());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessDetector {
    arguments: bool,
}

/// `container.id`, where the process's control groups or mounts tell it (Docker, containerd, CRI-O, Podman).
///
/// ```
/// use spanlet_std::resource::{ContainerDetector, ResourceDetector};
/// let found = ContainerDetector.detect(); // empty outside of a container
/// # drop(found);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ContainerDetector;

/// `service.instance.id`: a random UUID for the life of this process.
///
/// ```
/// use spanlet_std::resource::{ResourceDetector, ServiceInstanceDetector};
/// let id = |found: spanlet_std::resource::Resource| found.get("service.instance.id").unwrap().to_string();
/// assert_ne!(id(ServiceInstanceDetector.detect()), id(ServiceInstanceDetector.detect()));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceInstanceDetector;

impl ResourceDetector for HostDetector {
    fn detect(&self) -> Resource {
        let name = read(Path::new("/proc/sys/kernel/hostname"))
            .or_else(|| read(Path::new("/etc/hostname")))
            .or_else(|| std::env::var("HOSTNAME").ok())
            .or_else(|| std::env::var("COMPUTERNAME").ok());
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "arm" => "arm32",
            "powerpc" => "ppc32",
            "powerpc64" => "ppc64",
            other => other,
        };
        found([("host.name", name), ("host.arch", Some(arch.to_owned()))])
    }
}

impl ResourceDetector for OsDetector {
    fn detect(&self) -> Resource {
        let os = match std::env::consts::OS {
            "macos" | "ios" => "darwin",
            "dragonfly" => "dragonflybsd",
            other => other,
        };
        let release = read(Path::new("/etc/os-release"))
            .or_else(|| read(Path::new("/usr/lib/os-release")))
            .unwrap_or_default();
        found([
            ("os.type", Some(os.to_owned())),
            ("os.name", release_field(&release, "NAME")),
            ("os.version", release_field(&release, "VERSION_ID")),
            ("os.description", release_field(&release, "PRETTY_NAME")),
        ])
    }
}

impl ProcessDetector {
    /// Without arguments.
    #[must_use]
    pub const fn new() -> Self {
        ProcessDetector { arguments: false }
    }
    /// Adds `process.command_args`.
    #[must_use]
    pub const fn with_arguments(self) -> Self {
        ProcessDetector { arguments: true }
    }
}

impl ResourceDetector for ProcessDetector {
    fn detect(&self) -> Resource {
        let executable = std::env::current_exe().ok();
        let text = |path: &Path| Some(path.to_string_lossy().into_owned());
        let name = executable
            .as_deref()
            .and_then(|path| text(path.file_name()?.as_ref()));
        let mut resource = found([
            ("process.executable.name", name),
            (
                "process.executable.path",
                executable.as_deref().and_then(text),
            ),
        ])
        .with("process.pid", i64::from(std::process::id()));
        #[cfg(unix)]
        resource.set(
            "process.parent_pid",
            i64::from(std::os::unix::process::parent_id()),
        );
        if self.arguments {
            let arguments = std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned().into())
                .collect();
            resource.set("process.command_args", AttributeValue::Array(arguments));
        }
        resource
    }
}

impl ResourceDetector for ContainerDetector {
    fn detect(&self) -> Resource {
        let id = read(Path::new("/proc/self/cgroup"))
            .and_then(|text| of_cgroups(&text))
            .or_else(|| of_mounts(&read(Path::new("/proc/self/mountinfo"))?));
        found([("container.id", id)])
    }
}

impl ResourceDetector for ServiceInstanceDetector {
    fn detect(&self) -> Resource {
        let mut bytes = [0; 16];
        if getrandom::getrandom(&mut bytes).is_err() {
            return found([]);
        }
        // SPEC: RFC 9562, 5.4: version 4, variant 10.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let mut id = hex::encode(bytes);
        for at in [20, 16, 12, 8] {
            id.insert(at, '-');
        }
        found([("service.instance.id", Some(id))])
    }
}

/// What has a value and is not empty.
fn found<const N: usize>(attributes: [(&str, Option<String>); N]) -> Resource {
    let present = attributes
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
    let resource = present.fold(Resource::empty(), |to, (key, value)| to.with(key, value));
    resource.with_schema_url(SCHEMA_URL)
}

/// A small text file, without the blanks around it; `None` if there is none.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A value of an `os-release` file. SPEC: os-release(5): shell-like, perhaps quoted.
fn release_field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.trim().strip_prefix(name)?.strip_prefix('=')?;
        Some(value.trim_matches(['"', '\'']).to_owned())
    })
}

/// The id in the path of a control group: the last part, without what runtimes put around it.
fn of_cgroups(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let last = line.rsplit('/').next()?.trim();
        let last = last.strip_suffix(".scope").unwrap_or(last);
        container_id(last.rsplit(['-', ':']).next()?)
    })
}

/// The id in the source of a mount, such as `/var/lib/docker/containers/ID/hostname`: all that control groups
/// of version 2 leave to be seen from inside.
fn of_mounts(text: &str) -> Option<String> {
    let mounts = text.lines().filter(|line| {
        ["/etc/hostname", "/etc/resolv.conf", "/etc/hosts"]
            .iter()
            .any(|file| line.split(' ').nth(4) == Some(file))
    });
    mounts
        .filter_map(|line| line.split(' ').nth(3))
        .find_map(|source| source.split('/').find_map(container_id))
}

/// 64 lowercase hex digits, which is what all of these runtimes use.
fn container_id(text: &str) -> Option<String> {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == 64 && text.bytes().all(is_hex)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "24fd2a6dbd1a0bd4cd2f1ff5c6a1dbd7ce8f4b3d4a4e2a5e6f7a8b9c0d1e2f30";

    #[test]
    fn container_ids_of_the_usual_runtimes() {
        for line in [
            format!("13:name=systemd:/docker/{ID}"),
            format!("1:name=systemd:/kubepods/burstable/pod1-2/{ID}"),
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("12:pids:/kubepods.slice/cri-containerd-{ID}.scope"),
            format!("5:cpu:/kubelet/kubepods-pod1.slice:cri-containerd:{ID}"),
            format!("0::/\n8:memory:/libpod_parent/libpod-{ID}"),
        ] {
            assert_eq!(of_cgroups(&line).as_deref(), Some(ID), "{line}");
        }
        for line in [
            "0::/",
            "0::/user.slice/session-1.scope",
            "",
            "1:cpu:/docker/24fd2a",
        ] {
            assert_eq!(of_cgroups(line), None, "{line}");
        }
        let mounts = format!(
            "473 456 254:1 /docker/volumes/{other}/_data /var/lib/data rw - ext4 /dev/vda1 rw\n\
             474 456 254:1 /docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw",
            other = "f".repeat(64)
        );
        assert_eq!(of_mounts(&mounts).as_deref(), Some(ID));
        assert_eq!(of_mounts("1 2 0:1 / /etc/hosts rw - ext4 x rw"), None);
    }

    #[test]
    fn the_name_of_the_system() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian";
        assert_eq!(
            release_field(text, "NAME").as_deref(),
            Some("Debian GNU/Linux")
        );
        assert_eq!(release_field(text, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release_field(text, "ID").as_deref(), Some("debian"));
        assert_eq!(release_field(text, "VARIANT"), None);
    }

    #[test]
    fn every_detector_names_its_schema_and_its_own_keys() {
        let detectors: [(&str, &dyn ResourceDetector); 5] = [
            ("host.", &HostDetector),
            ("os.", &OsDetector),
            ("process.", &ProcessDetector::new().with_arguments()),
            ("container.", &ContainerDetector),
            ("service.instance.", &ServiceInstanceDetector),
        ];
        for (prefix, detector) in detectors {
            let found = detector.detect();
            assert_eq!(found.schema_url(), SCHEMA_URL);
            for (key, value) in found.iter() {
                assert!(
                    key.starts_with(prefix) && !value.to_string().is_empty(),
                    "{key}"
                );
            }
        }
        let id = ServiceInstanceDetector.detect();
        let id = id.get("service.instance.id").map(ToString::to_string);
        let id = id.expect("a random id");
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(id.as_bytes()[14], b'4', "{id}");
    }
}
