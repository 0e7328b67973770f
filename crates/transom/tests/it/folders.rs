//! Folders of plugins: a program that is put there comes online, one that is taken away ends.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use transom_e2e::eventually;

use crate::plugins::{ask, number};
use crate::program::{Folder, Program};

struct Scene {
    _folder: Folder,
    place: PathBuf,
    socket: PathBuf,
    _program: Program,
}

impl Scene {
    fn start() -> Self {
        let folder = Folder::new();
        let socket = folder.write("socket", "").with_file_name("admin.sock");
        let place = socket.with_file_name("plugins.d");
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
        let program = Program::start(&format!(
            r#"
admin: {{address: "unix:{}"}}
plugin_folders:
  dropped: {{path: {place:?}, plugin: {{protocol: none}}}}
listeners:
  - {{name: l, address: "127.0.0.1:0", network_filters: [{{name: echo}}]}}
"#,
            socket.display()
        ));
        Self {
            _folder: folder,
            place,
            socket,
            _program: program,
        }
    }

    /// Puts a file there as an installer does: written beside, then named.
    fn put(&self, name: &str, text: &str, mode: u32) {
        let fresh = self.place.join(format!(".{name}"));
        fs::write(&fresh, text).unwrap();
        fs::set_permissions(&fresh, Permissions::from_mode(mode)).unwrap();
        fs::rename(&fresh, self.place.join(name)).unwrap();
    }

    /// A program that says what it is.
    fn put_program(&self, name: &str, says: &str) {
        self.put(
            name,
            &format!("#!/bin/sh\necho {says}\nexec sleep 1000\n"),
            0o755,
        );
    }

    fn described(&self, name: &str) -> String {
        ask(&self.socket, "GET", &format!("/api/v1/plugins/{name}"))
    }

    /// Waits until a plugin has said this and the version before it is gone, and gives its process.
    fn wait_for(&self, name: &str, says: &str) -> u32 {
        eventually(&format!("{name} says {says}"), || {
            let json = self.described(name);
            let is_there = json.contains(&format!("\"{says}\""))
                && json.contains("\"state\": \"ready\"")
                && json.matches("\"pid\"").count() == 1;
            number(&json, "pid").filter(|_| is_there)
        })
    }

    fn wait_until_gone(&self, name: &str, pid: u32) {
        eventually(&format!("{name} is gone"), || {
            let is_gone = self.described(name).starts_with("HTTP/1.1 404");
            (is_gone && !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
        });
    }
}

#[test]
fn a_program_comes_online_is_replaced_and_goes() {
    let scene = Scene::start();
    scene.put_program("one", "first");
    let first = scene.wait_for("one", "first");
    let origin = format!("\"origin\": \"{}/one (", scene.place.display());
    assert!(
        scene.described("one").contains(&origin),
        "{}",
        scene.described("one")
    );
    scene.put_program("one", "second");
    let second = scene.wait_for("one", "second");
    assert_ne!(first, second);
    fs::remove_file(scene.place.join("one")).unwrap();
    scene.wait_until_gone("one", second);
}

#[test]
fn of_several_versions_the_newest_is_online() {
    let scene = Scene::start();
    scene.put_program("two@1.9", "nine");
    scene.wait_for("two", "nine");
    scene.put_program("two@1.10", "ten");
    let newest = scene.wait_for("two", "ten");
    // An older one changes nothing.
    scene.put_program("two@1.8", "eight");
    scene.put_program("mark", "here");
    scene.wait_for("mark", "here");
    assert_eq!(scene.wait_for("two", "ten"), newest);
    fs::remove_file(scene.place.join("two@1.10")).unwrap();
    scene.wait_for("two", "nine");
}

/// What cannot be used is passed over; what ran goes on, and others come online all the same.
#[test]
fn a_bad_program_is_passed_over_and_the_one_before_it_stays() {
    let scene = Scene::start();
    scene.put_program("one", "good");
    let good = scene.wait_for("one", "good");
    scene.put("one", "#!/nowhere/at/all\n", 0o755);
    scene.put("writable", "#!/bin/sh\nexec sleep 1000\n", 0o777);
    scene.put("data", "#!/bin/sh\nexec sleep 1000\n", 0o644);
    scene.put("three.yaml", "sandbox: lax\n", 0o644);
    scene.put_program("three", "lax");
    scene.put("four.sha256", &format!("{}  four\n", "0".repeat(64)), 0o644);
    scene.put_program("four", "tampered");
    scene.put("five.yaml", "env: [GREETING=hello]\n", 0o644);
    scene.put(
        "five",
        "#!/bin/sh\necho $GREETING\nexec sleep 1000\n",
        0o755,
    );
    scene.wait_for("five", "hello");
    assert_eq!(scene.wait_for("one", "good"), good);
    // Its program is not run, however often it is tried.
    assert!(!scene.described("four").contains("\"tampered\""));
    for name in ["writable", "data", "three"] {
        assert!(scene.described(name).starts_with("HTTP/1.1 404"), "{name}");
    }
    // Mended, they come online.
    scene.put("three.yaml", "sandbox: default\n", 0o644);
    scene.wait_for("three", "lax");
    scene.put_program("one", "better");
    scene.wait_for("one", "better");
}
