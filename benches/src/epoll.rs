//! A safe, thin face on epoll; a timer for it; sockets made non-blocking in as few system calls as possible.

use std::io;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

pub use rustix::event::epoll::EventFlags as Interest;

/// Events taken from the kernel at a time.
const BATCH: usize = 256;

/// What happened to one registered socket.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The token it was registered with.
    pub token: usize,
    /// The kernel's flags.
    pub flags: EventFlags,
}

impl Ready {
    /// Reading gives bytes, the end, or an error.
    #[must_use]
    pub fn readable(self) -> bool {
        self.flags
            .intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
    }

    /// Writing gives progress or an error.
    #[must_use]
    pub fn writable(self) -> bool {
        self.flags.intersects(EventFlags::OUT | EventFlags::ERR)
    }

    /// The socket has failed.
    #[must_use]
    pub fn failed(self) -> bool {
        self.flags.contains(EventFlags::ERR)
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// A new instance.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn new() -> io::Result<Poller> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Poller { epoll })
    }

    /// Registers a socket; closing it unregisters it.
    ///
    /// # Errors
    /// As `epoll_ctl`.
    pub fn add(&self, source: impl AsFd, token: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            source,
            EventData::new_u64(token as u64),
            interest,
        )?)
    }

    /// Changes what a registered socket is watched for.
    ///
    /// # Errors
    /// As `epoll_ctl`.
    pub fn modify(&self, source: impl AsFd, token: usize, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            source,
            EventData::new_u64(token as u64),
            interest,
        )?)
    }

    /// Waits until something is ready, for this long at most, and puts it into `ready`. The limit is
    /// kept to the millisecond; whoever needs it closer registers a [`Ticker`].
    ///
    /// # Errors
    /// As `epoll_wait`; an interrupted wait is an empty one.
    pub fn wait(&self, ready: &mut Vec<Ready>, limit: Option<Duration>) -> io::Result<()> {
        ready.clear();
        let limit = limit.map(timespec);
        let mut buffer = [const { MaybeUninit::uninit() }; BATCH];
        let events = match epoll::wait(&self.epoll, &mut buffer[..], limit.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        ready.extend(events.iter().filter_map(|event| {
            let token = usize::try_from(event.data.u64()).ok()?;
            Some(Ready {
                token,
                flags: event.flags,
            })
        }));
        Ok(())
    }
}

/// Becomes readable again and again, to the microsecond.
#[derive(Debug)]
pub struct Ticker {
    timer: OwnedFd,
}

impl Ticker {
    /// The first tick comes after one interval.
    ///
    /// # Errors
    /// When the process is out of file descriptors.
    pub fn every(interval: Duration) -> io::Result<Ticker> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let times = Itimerspec {
            it_interval: timespec(interval),
            it_value: timespec(interval),
        };
        rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
        Ok(Ticker { timer })
    }

    /// Takes the ticks so far: only another makes it readable again.
    pub fn take(&self) {
        // Fails when there was none, which is as well.
        let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
    }
}

impl AsFd for Ticker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().cast_signed(),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// A connection accepted from a non-blocking listener, itself non-blocking; `None` when nobody
/// waits. One system call: the standard library needs two.
#[must_use]
pub fn accept(listener: &TcpListener) -> Option<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = TcpStream::from(rustix::net::accept_with(listener, flags).ok()?);
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// Begins to connect without waiting; the socket becomes writable when it is done.
///
/// # Errors
/// When the connection fails at once: no port left, no route.
pub fn begin_connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let family = if addr.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &addr) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A non-blocking listener.
///
/// # Errors
/// When the address is taken.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Keeps the calling thread, and whatever it starts from now on, on one CPU.
///
/// # Errors
/// When there is no such CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A limit would be rounded up to a millisecond, and so would every request's time in the rows
    /// that measure it.
    #[test]
    fn ticks_come_more_than_once_a_millisecond() {
        let poller = Poller::new().expect("epoll");
        let ticker = Ticker::every(Duration::from_micros(200)).expect("a timer");
        poller.add(&ticker, 7, Interest::IN).expect("registered");
        let mut ready = Vec::new();
        let mut next = || {
            let since = Instant::now();
            let limit = Some(Duration::from_secs(10));
            poller.wait(&mut ready, limit).expect("epoll");
            assert!(matches!(ready[..], [Ready { token: 7, .. }]));
            ticker.take();
            since.elapsed()
        };
        // The machine may be late, but not always.
        let soonest = (0..100).map(|_| next()).min();
        assert!(soonest < Some(Duration::from_micros(600)), "{soonest:?}");
    }
}
