//! Cgroups: bounds that the kernel holds, and an end that nothing escapes. Where no group can be made, a line says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use transom_api::NodeKind;
use transom_process::launch::Launcher;
use transom_process::launch::cgroup::Delegated;
use transom_process::supervise::spec::CgroupBounds;
use transom_process::supervise::{Place, Plugin, Protocol, Spec, Supervisor};

use super::supervise::{PATIENCE, at, exists};
use super::{eventually, example};

/// A group of the test's own; it goes with the value.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts
            .lines()
            .find(|line| line.split(' ').nth(2) == Some("cgroup2"))?
            .split(' ')
            .nth(1)?;
        let path = Path::new(mount).join(format!("transom-test-{name}-{}", std::process::id()));
        match fs::create_dir(&path) {
            Ok(()) => Some(Self(path)),
            Err(error) => {
                eprintln!("skipped: no cgroup can be made at {mount}: {error}");
                None
            }
        }
    }

    fn place(&self) -> Place {
        let launcher = Launcher::new(example("plugin-launcher"), [] as [&str; 0]);
        Place {
            folder: Path::new("/").into(),
            launcher: launcher.in_cgroup(Delegated::at(&self.0)),
        }
    }

    fn members(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whatever a failed test has left in it ends.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let _ = fs::remove_dir(&self.0);
    }
}

fn shell(script: &str) -> Spec {
    Spec {
        protocol: Protocol::None,
        start_timeout: PATIENCE,
        ..Spec::new(["sh", "-c", script])
    }
}

#[tokio::test]
async fn what_left_the_process_group_ends_with_its_cgroup() {
    let Some(group) = Group::new("escape") else {
        return;
    };
    let supervisor = Supervisor::new();
    let spec = Spec {
        memory: Some(64 << 20),
        cgroup: CgroupBounds {
            processes: Some(50),
            cpu: Some(0.5),
            required: false,
        },
        ..shell("setsid sleep 1000 & echo escaped $!; exec sleep 1000")
    };
    let plugin = supervisor
        .plugin("test", Arc::new(spec), group.place())
        .await
        .unwrap();
    let described = || supervisor.describe("test").unwrap();
    let said = || {
        let text = described().to_json();
        let (_, rest) = text.split_once("\"escaped ")?;
        rest.split('"').next()?.parse::<u32>().ok()
    };
    eventually("it says what it has started", || said().is_some_and(exists)).await;
    let escaped = said().unwrap();
    let NodeKind::String(path) = at(&described(), "versions.0.instances.0.cgroup.path") else {
        panic!("{}", described().to_json());
    };
    assert_eq!(group.members(), [PathBuf::from(&path)]);
    let inside = fs::read_to_string(Path::new(&path).join("cgroup.procs")).unwrap();
    assert!(
        inside.lines().any(|pid| pid == escaped.to_string()),
        "{inside}"
    );
    // Each bound is held, or said not to be.
    let list = |key: &str| -> Vec<String> {
        match at(
            &described(),
            &format!("versions.0.instances.0.cgroup.{key}"),
        ) {
            NodeKind::List(names) => names
                .iter()
                .map(|it| it.as_str().unwrap().to_owned())
                .collect(),
            other => panic!("{other:?}"),
        }
    };
    let (held, missing) = (list("held"), list("missing"));
    assert_eq!(held.len() + missing.len(), 3, "{held:?} {missing:?}");
    for (name, file, value) in [
        ("memory", "memory.max", "67108864"),
        ("pids", "pids.max", "50"),
        ("cpu", "cpu.max", "50000 100000"),
    ] {
        if held.iter().any(|held| held == name) {
            let is = fs::read_to_string(Path::new(&path).join(file)).unwrap();
            assert_eq!(is.trim(), value);
        } else {
            eprintln!("skipped: there is no controller `{name}` for version 2 here");
        }
    }
    plugin.stop().await;
    eventually("the other one is gone", || !exists(escaped)).await;
    eventually("the group is gone", || group.members().is_empty()).await;
}

#[tokio::test]
async fn bounds_that_are_required_and_cannot_be_held_keep_it_from_starting() {
    let spec = || Spec {
        cgroup: CgroupBounds {
            processes: Some(50),
            cpu: None,
            required: true,
        },
        ..shell("exec sleep 1000")
    };
    let error = Plugin::start("test", Arc::new(spec()), super::supervise::place()).await;
    assert!(error.unwrap_err().to_string().contains("Delegate=yes"));
    let Some(group) = Group::new("required") else {
        return;
    };
    let controllers = fs::read_to_string(group.0.join("cgroup.controllers")).unwrap();
    let started = Plugin::start("test", Arc::new(spec()), group.place()).await;
    match controllers.split_whitespace().any(|name| name == "pids") {
        true => started.unwrap().stop().await,
        false => assert!(started.unwrap_err().to_string().contains("pids")),
    }
    eventually("the group is gone", || group.members().is_empty()).await;
}
