//! Every actor, started in order.
//!
//! Links first, since shards and the catalogue know each other; then the shards, which serve an
//! empty table; then control, whose first snapshot replaces it; then the doors people look through.
use crate::{Builder, Running, running, settings::AccessLog};
use anyhow::Context as _;
use pointsman_admin::{Admin, Door, Health, State};
use pointsman_control::{Catalogue, CatalogueSpec, Files, FilesSettings, Names, names};
use pointsman_dataplane::{
    Plan, ShardHandle,
    access::{SinkHost, SinkOutlet, sink_host, sink_mailbox},
    shard::lookups::Lookup,
};
use pointsman_model::World;
use pointsman_route::{Snapshot, Tables};
use pointsman_runtime::{Drain, Link, Overseer, ShardId, Shards};
use pointsman_telemetry::{Format, Recorder, SourceLabels, WriteSink};
use std::{rc::Rc, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// How long starting a thread's part may take. Nothing in it waits for the network.
const START: Duration = Duration::from_secs(30);
/// Changes and reports that may wait for the catalogue.
const CATALOGUE_MAILBOX: usize = 256;

pub(crate) async fn assemble(builder: Builder) -> anyhow::Result<Running> {
    let Builder {
        settings,
        roots,
        mut host,
    } = builder;
    let contexts = settings.contexts();
    let recorder = Recorder::default();
    let health = Arc::new(Health::new());
    let sources = std::mem::take(&mut host.sources);
    let format = match settings.log.access {
        AccessLog::Off => None,
        AccessLog::Text => Some(Format::default()),
        AccessLog::Json => Some(Format::Json),
    };
    if let Some(format) = format {
        let recorder = recorder.clone();
        host.sink("stdout", move || {
            WriteSink::stdout(format).count_losses(&recorder)
        });
    }
    let host = Arc::new(host);
    let count = match settings.process.shards {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get() as u16),
        count => count,
    };
    // Where records go is told to the shards, which are started before what takes them.
    let (sink_links, seats): (Vec<Link<SinkHost>>, Vec<_>) = host
        .sinks
        .iter()
        .map(|(name, _)| Link::reserve(name, sink_mailbox(count.into())))
        .unzip();

    if let Some(mark) = settings.capture.mark {
        pointsman_dataplane::capture::check_mark(mark)
            .context("capture.mark cannot be used: it needs CAP_NET_ADMIN")?;
    }

    // The admin door is bound first: a second gateway on the same machine is told so before it
    // touches anything else.
    let listener = pointsman_admin::bind(
        settings.process.admin,
        Door::Full,
        settings.process.admin_remote,
    )
    .await
    .context("the admin address cannot be used; choose another with --admin")?;
    let admin_address = listener.local_addr()?;
    // Served by another thread than this one, which must not be needed to hear of a connection.
    let listener = listener.into_std()?;

    let shards = Shards::start(count).context("threads cannot be started")?;
    let drain = Drain::new();
    let overseer = Overseer::new(|failure| {
        tracing::error!(actor = failure.name, cause = %failure.cause, "an actor failed for good; the rest goes on without it");
    });
    let (catalogue, seat) = Link::<Catalogue>::reserve("catalogue", CATALOGUE_MAILBOX);

    let plan = Plan {
        settings: settings.dataplane(),
        capture: settings.capture.clone(),
        snapshot: Arc::new(Snapshot {
            generation: 0,
            tables: Tables::empty(&contexts),
        }),
        host: host.clone(),
        overseer: overseer.clone(),
        recorder: recorder.clone(),
        source: Arc::new(SourceLabels::from_context(
            &contexts.mesh.context(&World::default()),
        )),
        shared: Arc::default(),
        active: catalogue.outlet(),
        findings: catalogue.outlet(),
        sinks: sink_links
            .iter()
            .map(|link| SinkOutlet {
                name: link.name(),
                records: link.outlet(),
            })
            .collect(),
    };
    let watches: Vec<_> = (0..count).map(|_| drain.watch()).collect();
    let handles: Vec<ShardHandle> = shards
        .on_each(START, async move |id: ShardId| {
            let watch = watches[id.index()].clone();
            pointsman_dataplane::start(id, plan.clone(), lookup(), watch)
        })
        .await?;

    let mut names: Vec<Arc<str>> = Vec::new();
    if !roots.is_empty() {
        names.push("files".into());
    }
    names.extend(sources.iter().map(|(name, _)| Arc::from(*name)));
    let mut spec = CatalogueSpec::new(
        contexts,
        handles
            .iter()
            .map(|handle| handle.install.clone())
            .collect(),
    );
    spec.sources = names;
    spec.recorder = Some(recorder.clone());
    let files = (!roots.is_empty()).then(|| Files {
        name: "files".into(),
        roots,
        settings: FilesSettings {
            quiet: settings.sources.debounce.0,
            poll: settings.sources.poll.0,
            max_file_bytes: settings.sources.max_file_bytes,
            default_namespace: spec.contexts.mesh.namespace.clone(),
            cluster_domain: spec.contexts.mesh.cluster_domain.clone(),
            ..FilesSettings::default()
        },
        started: catalogue.outlet(),
        changes: catalogue.outlet(),
    });
    let names = Names {
        lookup: names::system(),
        settings: settings.names.settings(),
        started: catalogue.outlet(),
        changed: catalogue.outlet(),
    };
    let admin = {
        let mut admin = Admin::new(
            pointsman_admin::admin::Settings::default(),
            health.clone(),
            recorder.clone(),
        );
        crate::running::pages(&mut admin, &catalogue);
        Arc::new(admin)
    };
    let (link, chief, gauges) = (catalogue.clone(), overseer, recorder.clone());
    let progress = shards
        .on_control(START, async move || {
            let listener = TcpListener::from_std(listener)?;
            let (catalogue, progress) = pointsman_control::catalogue(seat, spec);
            chief.start(catalogue);
            chief.start(pointsman_control::names(names));
            if let Some(files) = files {
                chief.start(pointsman_control::files(files));
            }
            for (index, seat) in seats.into_iter().enumerate() {
                chief.start(sink_host(seat, host.clone(), index));
            }
            for (name, run) in sources {
                chief.start(pointsman_control::hosted(
                    name,
                    run,
                    link.outlet(),
                    link.outlet(),
                ));
            }
            actix::spawn(running::process_gauges(gauges));
            actix::spawn(async move {
                pointsman_admin::serve(listener, admin, Door::Full).await;
            });
            std::io::Result::Ok(progress)
        })
        .await??;
    health.advance(State::Initializing);

    Ok(Running {
        admin: admin_address,
        shards,
        handles,
        sinks: sink_links,
        drain,
        health,
        catalogue,
        progress,
        recorder,
        drain_time: settings.process.drain_time.0,
    })
}

/// What a shard looks names up by: as the control plane does, with connections to DNS servers of its
/// own.
fn lookup() -> Lookup {
    let lookup = names::system();
    Rc::new(move |name| {
        let answer = lookup(name);
        Box::pin(async move { Ok(answer.await?.addresses) })
    })
}
