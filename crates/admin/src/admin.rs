//! The table of pages.
use crate::{
    health::Health,
    page::{Reply, Request},
    pages,
    places::Places,
    serve::Door,
};
use hyper::{Method, StatusCode};
use pointsman_telemetry::Recorder;
use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

/// Limits of the admin server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections open at once over all addresses. One more takes the place of the one that has waited
    /// for a request for longest, and is closed at once if all are being answered.
    pub max_connections: usize,
    /// Until a request's head is complete, and how long a connection may idle between two.
    pub head_timeout: Duration,
    /// Bytes of a head; at least 8 KiB.
    pub max_head: usize,
    /// Until a request's body is complete, counted from its head.
    pub body_timeout: Duration,
    /// Bytes of a body.
    pub max_body: usize,
    /// How long a client may take none of what it is answered with.
    pub write_timeout: Duration,
    /// Age at which a connection is asked to end: a client that reads a little now and then must
    /// not hold its place for good.
    pub max_age: Duration,
    /// How long after that it may take to end.
    pub close_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_connections: 64,
            head_timeout: Duration::from_secs(10),
            max_head: 16 * 1024,
            body_timeout: Duration::from_secs(10),
            max_body: 1024 * 1024,
            write_timeout: Duration::from_secs(10),
            max_age: Duration::from_secs(600),
            close_timeout: Duration::from_secs(5),
        }
    }
}

/// The future of a [`Reply`]. It stays on the thread it was made on.
pub type ReplyFuture = Pin<Box<dyn Future<Output = Reply>>>;

type Handler = Box<dyn Fn(Request) -> ReplyFuture + Send + Sync>;

/// One page.
pub(crate) struct Route {
    method: Method,
    path: &'static str,
    summary: &'static str,
    public: bool,
    /// `None`: the list of pages, which only the table itself knows.
    handler: Option<Handler>,
}

/// The pages and the limits within which they are served.
pub struct Admin {
    pub(crate) settings: Settings,
    pub(crate) recorder: Recorder,
    pub(crate) places: Places,
    routes: Vec<Route>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("settings", &self.settings)
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// The built-in pages: `/help` lists them.
    pub fn new(settings: Settings, health: Arc<Health>, recorder: Recorder) -> Self {
        let mut admin = Self {
            settings,
            recorder,
            places: Places::default(),
            routes: vec![Route {
                method: Method::GET,
                path: "/help",
                summary: "print out list of admin commands",
                public: true,
                handler: None,
            }],
        };
        pages::install(&mut admin, health);
        admin
    }

    /// Adds a page to [`Door::Full`] addresses, in place of one with the same method and path. The
    /// path is compared as a whole and as sent; `summary` is its line in `/help`. A page for GET
    /// answers HEAD as well.
    pub fn route<F, R>(
        &mut self,
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + 'static,
    {
        self.add(method, path, summary, false, handler);
    }

    /// As [`Admin::route`], for pages that may be seen from other machines: [`Door::Public`]
    /// addresses have them too.
    pub fn public_route<F, R>(
        &mut self,
        method: Method,
        path: &'static str,
        summary: &'static str,
        handler: F,
    ) where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + 'static,
    {
        self.add(method, path, summary, true, handler);
    }

    fn add<F, R>(
        &mut self,
        method: Method,
        path: &'static str,
        summary: &'static str,
        public: bool,
        handler: F,
    ) where
        F: Fn(Request) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + 'static,
    {
        self.routes
            .retain(|route| route.method != method || route.path != path);
        self.routes.push(Route {
            method,
            path,
            summary,
            public,
            handler: Some(Box::new(move |request| Box::pin(handler(request)))),
        });
    }

    /// What `route` answers.
    pub(crate) async fn answer(&self, door: Door, route: &Route, request: Request) -> Reply {
        match &route.handler {
            Some(handler) => handler(request).await,
            None => Reply::text(StatusCode::OK, self.help(door)),
        }
    }

    /// Every page that `door` has, by path, in the shape of Envoy's.
    fn help(&self, door: Door) -> String {
        let mut routes: Vec<_> = self.routes.iter().filter(|r| r.is_behind(door)).collect();
        routes.sort_by_key(|route| route.path);
        let mut text = String::from("admin commands are:\n");
        for route in routes {
            let method = match route.method {
                Method::GET => String::new(),
                ref method => format!(" ({method})"),
            };
            text.push_str(&format!("  {}{method}: {}\n", route.path, route.summary));
        }
        text
    }

    /// The page for a request, or the answer that says why there is none.
    pub(crate) fn find(&self, door: Door, method: &Method, path: &str) -> Result<&Route, Reply> {
        let wanted = match *method {
            Method::HEAD => &Method::GET,
            ref method => method,
        };
        let mut allowed = Vec::new();
        for route in self.routes.iter().filter(|route| route.path == path) {
            if !route.is_behind(door) {
                return Err(Reply::text(
                    StatusCode::FORBIDDEN,
                    "This page is on the admin address only.\n",
                ));
            }
            if route.method == *wanted {
                return Ok(route);
            }
            allowed.push(route.method.as_str());
            if route.method == Method::GET {
                allowed.push("HEAD");
            }
        }
        if allowed.is_empty() {
            return Err(Reply::text(
                StatusCode::NOT_FOUND,
                "There is no such page; GET /help lists those there are.\n",
            ));
        }
        let allowed = allowed.join(", ");
        let sentence = format!("This page takes {allowed} only.\n");
        Err(Reply {
            allow: Some(allowed),
            ..Reply::text(StatusCode::METHOD_NOT_ALLOWED, sentence)
        })
    }
}

impl Route {
    fn is_behind(&self, door: Door) -> bool {
        self.public || door == Door::Full
    }
}
