//! The files source on real files: what the catalogue is told, however people change them.
use actix::{Actor, Context, Handler};
use pointsman_control::{Files, FilesSettings, Resync, Root, SourceStarted, files, read_once};
use pointsman_model::{Code, Finding, ObjectKey};
use pointsman_runtime::{ActorSpec, Link, Outlet, Overseer, run, tell};
use pointsman_sdk::SourceChange;
use pointsman_testkit::eventually;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    future::Future,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

const DEADLINE: Duration = Duration::from_secs(10);

/// A folder that goes away with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pointsman-files-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        // Without links, as the names in findings are compared.
        Folder(path.canonicalize().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn service(name: &str, address: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\nspec:\n  clusterIP: {address}\n  \
         ports:\n  - port: 80\n"
    )
}

/// Stands for the catalogue: applies what it is told, and keeps every message.
#[derive(Default)]
struct Told {
    messages: Vec<SourceChange>,
    documents: BTreeMap<String, String>,
    findings: Vec<Finding>,
    starts: Vec<Outlet<Resync>>,
}

struct Ear(Arc<Mutex<Told>>);

impl Actor for Ear {
    type Context = Context<Self>;
}

impl Handler<SourceStarted> for Ear {
    type Result = ();

    fn handle(&mut self, started: SourceStarted, _: &mut Self::Context) {
        self.0.lock().unwrap().starts.push(started.resync);
    }
}

impl Handler<SourceChange> for Ear {
    type Result = ();

    fn handle(&mut self, change: SourceChange, _: &mut Self::Context) {
        let mut told = self.0.lock().unwrap();
        for object in &change.upserts {
            let place = object.meta().place.to_string();
            let name = object.key().name.to_string();
            let address = format!("{object:?}")
                .split("addresses: [")
                .nth(1)
                .and_then(|rest| rest.split(']').next())
                .unwrap_or_default()
                .to_owned();
            told.documents.insert(name, format!("{address} {place}"));
        }
        for ObjectKey { name, .. } in &change.deletes {
            told.documents.remove(&**name);
        }
        if let Some(findings) = &change.findings {
            told.findings.clone_from(findings);
        }
        told.messages.push(change);
    }
}

struct Scene {
    told: Arc<Mutex<Told>>,
    source: Link<pointsman_control::FileSource>,
}

impl Scene {
    async fn begin(roots: &[&Path], settings: FilesSettings) -> Self {
        let scene = Self::begin_unsynced(roots, settings);
        scene
            .until("synced", |told| told.messages.iter().any(|it| it.synced))
            .await;
        scene
    }

    fn begin_unsynced(roots: &[&Path], settings: FilesSettings) -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let overseer = Overseer::default();
        let ear = Arc::clone(&told);
        let ear = overseer.start(ActorSpec::new("ear", 2, move |_, _| Ear(Arc::clone(&ear))));
        let source = overseer.start(files(Files {
            name: "files".into(),
            roots: roots
                .iter()
                .map(|root| Root::parse(root.as_os_str()))
                .collect(),
            settings,
            started: ear.outlet(),
            changes: ear.outlet(),
        }));
        Scene { told, source }
    }

    fn look<T>(&self, view: impl FnOnce(&Told) -> T) -> T {
        view(&self.told.lock().unwrap())
    }

    async fn until(&self, what: &str, mut wanted: impl FnMut(&Told) -> bool) {
        let begun = std::time::Instant::now();
        while !self.look(&mut wanted) {
            assert!(
                begun.elapsed() < DEADLINE,
                "not {what}: {:?} {:?}",
                self.look(|told| told.documents.clone()),
                self.look(|told| told.findings.clone())
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until exactly these documents are known: name and address.
    async fn knows(&self, wanted: &[(&str, &str)]) {
        let is = |told: &Told| {
            told.documents.len() == wanted.len()
                && wanted.iter().all(|(name, address)| {
                    told.documents
                        .get(*name)
                        .is_some_and(|it| it.starts_with(&format!("{address} ")))
                })
        };
        self.until(&format!("{wanted:?}"), is).await;
    }

    fn messages(&self) -> usize {
        self.look(|told| told.messages.len())
    }

    /// No document was ever deleted.
    fn nothing_was_deleted(&self) -> bool {
        self.look(|told| told.messages.iter().all(|it| it.deletes.is_empty()))
    }
}

/// Both ways of learning of a change; the second must do alone where the first tells nothing.
fn both_ways<F: Future<Output = ()>>(test: impl Fn(FilesSettings) -> F) {
    let events_alone = FilesSettings {
        poll: Duration::from_secs(3600),
        ..FilesSettings::default()
    };
    let polls_alone = FilesSettings {
        watch: false,
        poll: Duration::from_millis(20),
        ..FilesSettings::default()
    };
    for settings in [events_alone, polls_alone] {
        run(test(settings)).unwrap();
    }
}

#[test]
fn which_files_count_and_in_which_order() {
    run(async {
        let folder = Folder::new();
        fs::create_dir_all(folder.path("m/n")).unwrap();
        fs::create_dir_all(folder.path(".git")).unwrap();
        folder.write("z.yaml", &service("z", "10.0.0.1"));
        folder.write("m/n/b.YML", &service("b", "10.0.0.2"));
        folder.write("m/j.json", "{\"apiVersion\": \"v1\"}\n");
        folder.write("readme.md", &service("no", "10.0.0.3"));
        folder.write(".hidden.yaml", &service("no", "10.0.0.4"));
        folder.write("routes.test.yaml", "- name: cases are no documents\n");
        folder.write(".git/c.yaml", &service("no", "10.0.0.5"));
        // A loop, and a second way to a file.
        symlink(&folder.0, folder.path("m/loop")).unwrap();
        symlink(folder.path("z.yaml"), folder.path("a.yaml")).unwrap();
        let scene = Scene::begin(&[&folder.0], FilesSettings::default()).await;
        scene.knows(&[("z", "10.0.0.1"), ("b", "10.0.0.2")]).await;
        let z = scene.look(|told| told.documents["z"].clone());
        assert_eq!(z, format!("10.0.0.1 {}:1", folder.path("a.yaml").display()));
    })
    .unwrap();
}

#[test]
fn a_change_is_told_as_an_increment() {
    both_ways(async |settings| {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        let two = [service("b", "10.0.0.2"), service("c", "10.0.0.3")].join("---\n");
        folder.write("b.yaml", &two);
        let scene = Scene::begin(&[&folder.0], settings).await;
        assert_eq!(scene.messages(), 1);
        let two = [service("b", "10.0.0.2"), service("c", "10.0.0.33")].join("---\n");
        folder.write("b.yaml", &two);
        scene
            .knows(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.33")])
            .await;
        assert_eq!(scene.messages(), 2);
        scene.look(|told| {
            let last = told.messages.last().unwrap();
            assert_eq!(last.upserts.len(), 1);
            assert_eq!(&*last.upserts[0].key().name, "c");
            assert!(last.deletes.is_empty() && last.findings.is_none() && !last.synced);
        });
    });
}

#[test]
fn an_editor_renames_a_new_file_over_the_old() {
    both_ways(async |settings| {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        let scene = Scene::begin(&[&folder.0], settings).await;
        // More than once: a watch on the file itself would be lost after the first.
        for n in 2..5 {
            let address = format!("10.0.0.{n}");
            folder.write(".a.yaml.swp", &service("a", &address));
            fs::rename(folder.path(".a.yaml.swp"), folder.path("a.yaml")).unwrap();
            scene.knows(&[("a", &address)]).await;
        }
        assert!(scene.nothing_was_deleted());
    });
}

#[test]
fn a_single_file_is_followed_too() {
    both_ways(async |settings| {
        let folder = Folder::new();
        folder.write("routes.conf", &service("a", "10.0.0.1"));
        folder.write("other.yaml", &service("other", "10.0.0.9"));
        let file = folder.path("routes.conf");
        let scene = Scene::begin(&[&file], settings).await;
        scene.knows(&[("a", "10.0.0.1")]).await;
        folder.write("new", &service("a", "10.0.0.2"));
        fs::rename(folder.path("new"), &file).unwrap();
        scene.knows(&[("a", "10.0.0.2")]).await;
        folder.write("routes.conf", &service("a", "10.0.0.3"));
        scene.knows(&[("a", "10.0.0.3")]).await;
        // Who names a file wants what is in it, so that nothing goes with it.
        fs::remove_file(&file).unwrap();
        scene
            .until("told", |told| {
                told.findings.iter().any(|it| it.code == Code(32))
            })
            .await;
        scene.knows(&[("a", "10.0.0.3")]).await;
        folder.write("routes.conf", &service("a", "10.0.0.4"));
        scene.knows(&[("a", "10.0.0.4")]).await;
        assert!(scene.nothing_was_deleted());
        folder.write("routes.conf", "# nothing\n");
        scene.knows(&[]).await;
    });
}

#[test]
fn a_mounted_config_map_is_swapped() {
    both_ways(async |settings| {
        let folder = Folder::new();
        let version = |name: &str, address: &str| {
            fs::create_dir(folder.path(name)).unwrap();
            fs::write(folder.path(name).join("r.yaml"), service("a", address)).unwrap();
        };
        version("..2026_01", "10.0.0.1");
        symlink("..2026_01", folder.path("..data")).unwrap();
        symlink("..data/r.yaml", folder.path("r.yaml")).unwrap();
        let scene = Scene::begin(&[&folder.0], settings).await;
        scene.knows(&[("a", "10.0.0.1")]).await;
        for (old, new, address) in [
            ("..2026_01", "..2026_02", "10.0.0.2"),
            ("..2026_02", "..2026_03", "10.0.0.3"),
        ] {
            version(new, address);
            symlink(new, folder.path("..data_tmp")).unwrap();
            fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
            fs::remove_dir_all(folder.path(old)).unwrap();
            scene.knows(&[("a", address)]).await;
        }
        assert!(scene.nothing_was_deleted());
    });
}

#[test]
fn a_folder_that_is_gone_keeps_what_it_held_until_it_is_made_again() {
    both_ways(async |settings| {
        let outer = Folder::new();
        let inner = outer.path("routes/deep");
        let make = |address: &str| {
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("a.yaml"), service("a", address)).unwrap();
        };
        make("10.0.0.1");
        let root = outer.path("routes");
        let scene = Scene::begin(&[&root], settings).await;
        scene.knows(&[("a", "10.0.0.1")]).await;
        for n in 2..4 {
            fs::rename(&root, outer.path("away")).unwrap();
            scene
                .until("told", |told| {
                    told.findings.len() == 1 && told.findings[0].code == Code(32)
                })
                .await;
            scene.knows(&[("a", &format!("10.0.0.{}", n - 1))]).await;
            fs::remove_dir_all(outer.path("away")).unwrap();
            make(&format!("10.0.0.{n}"));
            scene.knows(&[("a", &format!("10.0.0.{n}"))]).await;
            scene
                .until("without findings", |told| told.findings.is_empty())
                .await;
        }
        assert!(scene.nothing_was_deleted());
        // And a change in the new folder is seen as well as one in the old.
        make("10.0.0.9");
        scene.knows(&[("a", "10.0.0.9")]).await;
        fs::remove_file(inner.join("a.yaml")).unwrap();
        scene.knows(&[]).await;
    });
}

#[test]
fn truncate_then_write_deletes_nothing() {
    run(async {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        folder.write("b.yaml", &service("b", "10.0.0.1"));
        let settings = FilesSettings {
            quiet: Duration::from_millis(150),
            poll: Duration::from_secs(3600),
            ..FilesSettings::default()
        };
        let quiet = settings.quiet;
        let scene = Scene::begin(&[&folder.0], settings).await;
        folder.write("a.yaml", "");
        // The empty file has certainly been seen once the other change has been told.
        folder.write("b.yaml", &service("b", "10.0.0.2"));
        scene
            .until("told of b", |told| {
                told.documents["b"].starts_with("10.0.0.2")
            })
            .await;
        folder.write("a.yaml", &service("a", "10.0.0.2"));
        scene.knows(&[("a", "10.0.0.2"), ("b", "10.0.0.2")]).await;
        // Left empty, it keeps what it held, and that is said.
        folder.write("a.yaml", "\n");
        scene
            .until("told", |told| {
                told.findings.iter().any(|it| it.code == Code(34))
            })
            .await;
        assert!(scene.nothing_was_deleted());
        // Removed, it does delete, and not before a second look.
        let removed = std::time::Instant::now();
        fs::remove_file(folder.path("a.yaml")).unwrap();
        scene.knows(&[("b", "10.0.0.2")]).await;
        assert!(removed.elapsed() >= quiet * 2);
    })
    .unwrap();
}

/// T-CH-5.
#[test]
fn broken_documents_keep_their_last_good_version_and_heal() {
    both_ways(async |settings| {
        let folder = Folder::new();
        let text = |a: &str, b: &str| [service("a", a), service("b", b)].join("---\n");
        folder.write("a.yaml", &text("10.0.0.1", "10.0.0.2"));
        let scene = Scene::begin(&[&folder.0], settings).await;
        scene.knows(&[("a", "10.0.0.1"), ("b", "10.0.0.2")]).await;

        // One document invalid: its neighbour changes all the same.
        folder.write("a.yaml", &text("10.0.0.11", "10.0.0.300"));
        scene.knows(&[("a", "10.0.0.11"), ("b", "10.0.0.2")]).await;
        scene.look(|told| {
            let [finding] = &told.findings[..] else {
                panic!("{:?}", told.findings);
            };
            let effect = &finding.effect;
            assert!(effect.contains("the version of 2"), "{effect}");
            assert!(effect.ends_with("Z keeps serving"), "{effect}");
        });

        // Not YAML from the second document on.
        folder.write(
            "a.yaml",
            &format!("{}---\nkind: [unclosed\n", service("a", "10.0.0.12")),
        );
        scene.knows(&[("a", "10.0.0.12"), ("b", "10.0.0.2")]).await;
        scene
            .until("told", |told| {
                told.findings.len() == 1
                    && told.findings[0]
                        .effect
                        .ends_with("what was read before, keeps serving")
            })
            .await;

        folder.write("a.yaml", &text("10.0.0.13", "10.0.0.23"));
        scene.knows(&[("a", "10.0.0.13"), ("b", "10.0.0.23")]).await;
        scene.until("healed", |told| told.findings.is_empty()).await;
        assert!(scene.nothing_was_deleted());
    });
}

#[test]
fn an_invalid_document_at_first_sight_serves_nothing() {
    run(async {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.300"));
        let scene = Scene::begin(&[&folder.0], FilesSettings::default()).await;
        scene.knows(&[]).await;
        scene.look(|told| {
            let effect = &told.findings[0].effect;
            assert!(effect.ends_with("nothing serves in its place"), "{effect}");
        });
    })
    .unwrap();
}

#[test]
fn the_first_file_serves_what_two_bring() {
    both_ways(async |settings| {
        let folder = Folder::new();
        folder.write("2.yaml", &service("a", "10.0.0.2"));
        folder.write("3.yaml", &service("a", "10.0.0.3"));
        let scene = Scene::begin(&[&folder.0], settings).await;
        scene.knows(&[("a", "10.0.0.2")]).await;
        scene.look(|told| {
            let [finding] = &told.findings[..] else {
                panic!("{:?}", told.findings);
            };
            let (first, second) = (folder.path("2.yaml"), folder.path("3.yaml"));
            assert_eq!(
                finding.to_string(),
                format!(
                    "warning[PM0033]: Service default/a is in {0}:1 and again in {1}:1 ({1}:1)",
                    first.display(),
                    second.display()
                )
            );
        });
        // Moved to an earlier file, then only there.
        folder.write("1.yaml", &service("a", "10.0.0.1"));
        scene.knows(&[("a", "10.0.0.1")]).await;
        scene
            .until("two findings", |told| told.findings.len() == 2)
            .await;
        fs::remove_file(folder.path("2.yaml")).unwrap();
        fs::remove_file(folder.path("3.yaml")).unwrap();
        scene
            .until("no findings", |told| told.findings.is_empty())
            .await;
        fs::rename(folder.path("1.yaml"), folder.path("9.yaml")).unwrap();
        let place = format!("10.0.0.1 {}:1", folder.path("9.yaml").display());
        scene
            .until("moved", |told| told.documents.get("a") == Some(&place))
            .await;
        assert!(scene.nothing_was_deleted());
    });
}

#[test]
fn a_file_that_cannot_be_read_keeps_what_it_held() {
    both_ways(async |settings| {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        let settings = FilesSettings {
            max_file_bytes: 400,
            ..settings
        };
        let scene = Scene::begin(&[&folder.0], settings).await;
        scene.knows(&[("a", "10.0.0.1")]).await;
        for (bytes, cause) in [
            (
                vec![b'#'; 401],
                "it is larger than 400 bytes (max_file_bytes)",
            ),
            (b"# \xff".to_vec(), "it is not UTF-8 text (byte 2)"),
        ] {
            fs::write(folder.path("a.yaml"), bytes).unwrap();
            scene
                .until(cause, |told| {
                    told.findings.len() == 1 && told.findings[0].message.ends_with(cause)
                })
                .await;
            scene.knows(&[("a", "10.0.0.1")]).await;
        }
        folder.write("a.yaml", &service("a", "10.0.0.2"));
        scene.knows(&[("a", "10.0.0.2")]).await;
        assert!(scene.nothing_was_deleted());
        scene.look(|told| assert!(told.findings.is_empty()));
    });
}

#[test]
fn a_folder_that_cannot_be_opened_deletes_nothing() {
    run(async {
        let folder = Folder::new();
        let inner = folder.path("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("a.yaml"), service("a", "10.0.0.1")).unwrap();
        let scene = Scene::begin(&[&folder.0], FilesSettings::default()).await;
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o000)).unwrap();
        if fs::read_dir(&inner).is_ok() {
            return; // the superuser may open everything
        }
        scene.until("told", |told| told.findings.len() == 1).await;
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o755)).unwrap();
        scene.until("healed", |told| told.findings.is_empty()).await;
        assert!(scene.nothing_was_deleted());
    })
    .unwrap();
}

#[test]
fn a_storm_of_changes_is_told_as_few() {
    run(async {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        let scene = Scene::begin(&[&folder.0], FilesSettings::default()).await;
        let begun = std::time::Instant::now();
        for n in 0..200 {
            folder.write("a.yaml", &service("a", &format!("10.0.1.{n}")));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        scene.knows(&[("a", "10.0.1.199")]).await;
        // At most one message per longest wait, the first and the last.
        let most = begun.elapsed().as_millis() / 500 + 3;
        let told = scene.messages();
        assert!(
            (2..=usize::try_from(most).unwrap()).contains(&told),
            "{told} of {most}"
        );
        assert!(scene.nothing_was_deleted());
    })
    .unwrap();
}

#[test]
fn everything_is_said_again_when_asked() {
    run(async {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        folder.write("b.yaml", &service("b", "10.0.0.2"));
        let scene = Scene::begin(&[&folder.0], FilesSettings::default()).await;
        assert_eq!(scene.messages(), 1);
        tell(&scene.source, Resync);
        scene.until("again", |told| told.messages.len() == 2).await;
        scene.look(|told| {
            let again = told.messages.last().unwrap();
            assert_eq!(again.upserts.len(), 2);
            assert!(again.synced && again.findings.is_some());
            assert_eq!(told.starts.len(), 2);
        });
    })
    .unwrap();
}

#[test]
fn a_pipe_is_read_once_and_the_rest_does_not_wait_for_it() {
    run(async {
        let folder = Folder::new();
        folder.write("a.yaml", &service("a", "10.0.0.1"));
        let pipe = folder.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let file = folder.path("a.yaml");
        let scene = Scene::begin_unsynced(&[&pipe, &file], FilesSettings::default());
        scene.knows(&[("a", "10.0.0.1")]).await;
        scene.look(|told| assert!(told.messages.iter().all(|it| !it.synced)));
        let writer = pipe.clone();
        let text = service("p", "10.0.0.2");
        std::thread::spawn(move || fs::write(writer, text).unwrap());
        scene.knows(&[("a", "10.0.0.1"), ("p", "10.0.0.2")]).await;
        scene.look(|told| assert!(told.messages.last().unwrap().synced));
        // The pipe's documents stay when other files change.
        folder.write("a.yaml", &service("a", "10.0.0.3"));
        scene.knows(&[("a", "10.0.0.3"), ("p", "10.0.0.2")]).await;
    })
    .unwrap();
}

#[test]
fn arguments() {
    assert_eq!(Root::parse(OsStr::new("-")), Root::Stdin);
    assert_eq!(Root::parse(OsStr::new("./-")), Root::Path("./-".into()));
    assert_eq!(&*Root::Stdin.name(), "-");
}

#[test]
fn nothing_there_is_said_and_then_taken_up() {
    both_ways(async |settings| {
        let folder = Folder::new();
        let root = folder.path("later/routes.yaml");
        let scene = Scene::begin(&[&root], settings).await;
        scene.look(|told| assert_eq!(told.findings[0].code, Code(32)));
        fs::create_dir(folder.path("later")).unwrap();
        fs::write(&root, service("a", "10.0.0.1")).unwrap();
        scene.knows(&[("a", "10.0.0.1")]).await;
        eventually(DEADLINE, || async {
            scene.look(|told| told.findings.is_empty())
        })
        .await;
    });
}

#[test]
fn read_once_follows_the_same_rules() {
    let folder = Folder::new();
    folder.write("1.yaml", &service("a", "10.0.0.1"));
    folder.write("2.yaml", &service("a", "10.0.0.2"));
    folder.write("3.yaml", &service("b", "10.0.0.300"));
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let (writer, text) = (pipe.clone(), service("p", "10.0.0.3"));
    let writing = std::thread::spawn(move || fs::write(writer, text).unwrap());
    let roots = [
        Root::Path(pipe.clone()),
        Root::Path(pipe.clone()),
        Root::Path(folder.0.clone()),
    ];
    let read = read_once(&roots, &FilesSettings::default());
    writing.join().unwrap();
    let names: Vec<_> = read.objects.iter().map(|it| &*it.key().name).collect();
    assert_eq!(names, ["a", "p"]);
    assert_eq!(
        &*read.objects[0].meta().place.file,
        folder.path("1.yaml").to_string_lossy()
    );
    let codes: Vec<_> = read.findings.iter().map(|it| it.code).collect();
    assert_eq!(codes.len(), 2);
    assert_eq!(codes[1], pointsman_control::codes::BROUGHT_TWICE);
    assert_eq!(
        read.texts,
        [(
            pipe.to_string_lossy().into_owned(),
            service("p", "10.0.0.3")
        )]
    );
}
