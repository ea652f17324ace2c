//! TCP streams: read, write, half-close, reset, connect.
//!
//! Everything takes `&Socket`: both directions of a connection live in one task and share the
//! socket by reference, without splitting it or locking.
use crate::socket::Socket;
use pointsman_model::policy::TcpKeepalive;
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use socket2::SockRef;
use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io::{self, ErrorKind},
    net::{Shutdown, SocketAddr},
    os::fd::BorrowedFd,
    task::{Poll, ready},
    time::Duration,
};
use tokio::{
    io::Interest,
    net::{TcpSocket, TcpStream},
};

/// Reads once into the spare room of `buffer`; 0 is the end of the stream.
pub(crate) fn read<'a>(
    stream: &'a Socket,
    buffer: &'a mut Vec<u8>,
) -> impl Future<Output = io::Result<usize>> + 'a {
    poll_fn(|cx| {
        loop {
            match try_read(stream, buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ready!(stream.poll_read_ready(cx))?;
                }
                other => return Poll::Ready(other),
            }
        }
    })
}

/// Waits until the runtime takes the socket for readable, which may be a guess.
///
/// One task at a time waits for one direction of a socket, so the runtime's one place for a waker is
/// enough. `TcpStream::readable` would keep the waiter in a list, under a lock that it takes three
/// times a wait, and in the future of every connection.
pub(crate) fn readable(stream: &Socket) -> impl Future<Output = io::Result<()>> {
    poll_fn(|cx| stream.poll_read_ready(cx))
}

/// Reads once into the spare room of `buffer`, or says that it would have to wait.
///
/// A read that leaves room has emptied the socket, and the runtime is told so: the next attempt
/// then waits for the kernel's notice at once, instead of finding out by a system call that there
/// is nothing. That saves one call per request on each side. The end of the stream is not lost by
/// it: a closed socket stays readable.
///
/// The kernel is called without the C library, whose `recv` is a point of cancellation: that is a
/// percent of a small request.
pub(crate) fn try_read(stream: &Socket, buffer: &mut Vec<u8>) -> io::Result<usize> {
    if buffer.len() == buffer.capacity() {
        // No room would read as the end of the stream.
        buffer.reserve(64);
    }
    let mut read = None;
    let outcome = stream.try_io(Interest::READABLE, |fd| {
        let (_, got) = rustix::net::recv(fd, spare_capacity(buffer), RecvFlags::empty())?;
        read = Some(got);
        if got > 0 && buffer.len() < buffer.capacity() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match read {
        Some(0) if stream.is_broken() => Err(ErrorKind::ConnectionReset.into()),
        Some(got) => Ok(got),
        None => outcome.map(|()| 0),
    }
}

/// Writes once, or says that it would have to wait. A write that the socket takes in part has
/// filled it, which the runtime is told as in [`try_read`].
pub(crate) fn try_write(stream: &Socket, bytes: &[u8]) -> io::Result<usize> {
    let mut written = None;
    let outcome = stream.try_write_io(|fd| {
        let taken = rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)?;
        written = Some(taken);
        if taken < bytes.len() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    });
    match written {
        Some(taken) => Ok(taken),
        None => outcome.map(|()| 0),
    }
}

/// Waits until there is something to read, be it the end, and leaves it there; but for an error, which the
/// kernel tells once. Never [`Peer::Silent`].
///
/// The kernel is asked. What the runtime believes may be a guess: it takes a socket that was just
/// accepted for readable, so that waiting for its own notice is over at once.
pub(crate) async fn arrival(stream: &Socket) -> Peer {
    poll_fn(|cx| {
        loop {
            let peeked = stream.try_io(Interest::READABLE, |fd| {
                let (_, got) = rustix::net::recv(fd, &mut [0; 1], RecvFlags::PEEK)?;
                Ok(got)
            });
            return Poll::Ready(match peeked {
                Ok(0) => Peer::Ended,
                Ok(_) => Peer::Spoke,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    match ready!(stream.poll_read_ready(cx)) {
                        Ok(()) => continue,
                        Err(_) => Peer::Gone,
                    }
                }
                Err(_) => Peer::Gone,
            });
        }
    })
    .await
}

/// Lets everybody else who is ready have their turn first: requests that are read are all read,
/// and then all sent on.
///
/// A write wakes its peer if that sleeps, which is dearer than the read before it (an interrupt to
/// another processor). A peer that gets one message after the other stays awake for all of them,
/// one that gets a message in the time of two has slept again by then. With 64 busy connections a
/// third as many writes have to wake somebody; alone, a connection goes on at once.
///
/// For requests only: responses that waited for their turn as well woke no fewer, and a turn of a task
/// is another 500 instructions.
pub(crate) fn behind_others() -> impl Future<Output = ()> {
    let mut waited = false;
    poll_fn(move |cx| {
        if waited {
            return Poll::Ready(());
        }
        waited = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Writes once: what is left to be written, if anything is. An error shows when it is tried again, or
/// read.
pub(crate) fn write_now<'a>(stream: &Socket, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let written = try_write(stream, bytes).unwrap_or(0);
    bytes.get(written..).filter(|rest| !rest.is_empty())
}

/// Writes all of `bytes`.
pub(crate) fn write_all<'a>(
    stream: &'a Socket,
    bytes: &'a [u8],
) -> impl Future<Output = io::Result<()>> + 'a {
    write(stream, bytes, None)
}

/// Writes all of `bytes`, and keeps in `left` how many the peer has not taken while that is waited
/// for.
pub(crate) fn write_watched<'a>(
    stream: &'a Socket,
    bytes: &'a [u8],
    left: &'a Cell<usize>,
) -> impl Future<Output = io::Result<()>> + 'a {
    write(stream, bytes, Some(left))
}

async fn write(stream: &Socket, mut bytes: &[u8], left: Option<&Cell<usize>>) -> io::Result<()> {
    let note = |count| {
        if let Some(left) = left {
            left.set(count);
        }
    };
    while !bytes.is_empty() {
        match try_write(stream, bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                note(bytes.len());
                poll_fn(|cx| stream.poll_write_ready(cx)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    note(0);
    Ok(())
}

/// Has the kernel probe whether the peer of a silent connection is still there (BE-62).
pub(crate) fn keep_alive(stream: &Socket, probes: &TcpKeepalive) {
    // The kernel counts seconds, up to 15 bits of them, and probes in 7.
    let seconds = |limit: Duration| Duration::from_secs(limit.as_secs().clamp(1, 32_767));
    let mut asked = socket2::TcpKeepalive::new();
    if let Some(time) = probes.time {
        asked = asked.with_time(seconds(time));
    }
    if let Some(interval) = probes.interval {
        asked = asked.with_interval(seconds(interval));
    }
    if let Some(count) = probes.probes {
        asked = asked.with_retries(count.clamp(1, 127));
    }
    // A socket that is closed already takes no options, and needs none.
    let _ = stream.ask(|fd| SockRef::from(&fd).set_tcp_keepalive(&asked));
}

/// Has the kernel give the connection up, with an error for whoever reads, once its peer takes nothing
/// of what was written for `limit`.
pub(crate) fn give_up_after(stream: &Socket, limit: Duration) {
    // As in `keep_alive`.
    let _ = stream.ask(|fd| SockRef::from(&fd).set_tcp_user_timeout(Some(limit)));
}

/// Has everything been sent that was written? Not to be asked once our side is ended.
pub(crate) fn is_sent(stream: &Socket) -> bool {
    let asked = stream.ask(|fd| {
        let ready = ready_once_sent(fd)?;
        SockRef::from(&fd).set_tcp_notsent_lowat(0)?; // as the system has it
        let ready = ready - PollFlags::IN;
        Ok::<_, io::Error>(!ready.is_empty())
    });
    // Of one that is gone, nothing is.
    !matches!(asked, Ok(Ok(false)))
}

/// For what a socket is ready that has little to come: from now on to be written to only once everything
/// is sent.
///
/// That shows it, as a socket of which no byte may wait to be sent can be written to as soon as none
/// does. There is a call that says how many bytes wait (`SIOCOUTQ`), but no safe way to it.
fn ready_once_sent(fd: BorrowedFd<'_>) -> io::Result<PollFlags> {
    SockRef::from(&fd).set_tcp_notsent_lowat(1)?;
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::OUT)];
    rustix::event::poll(&mut asked, Some(&Timespec::default()))?;
    let [asked] = asked;
    Ok(asked.revents())
}

/// Is anything to be read, or anything that was written not sent yet? Whoever closes then, or before more
/// comes, loses it.
pub(crate) fn is_unsettled(stream: &Socket) -> bool {
    !matches!(stream.ask(ready_once_sent), Ok(Ok(ready)) if ready == PollFlags::OUT)
}

/// Waits until everything has been sent that was written to a socket that has little to come.
pub(crate) fn sent(stream: &Socket) -> impl Future<Output = ()> {
    poll_fn(|cx| {
        loop {
            let sent = stream.try_io(Interest::WRITABLE, |fd| {
                match ready_once_sent(fd)? - PollFlags::IN {
                    ready if ready.is_empty() => Err(ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match sent {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if ready!(stream.poll_write_ready(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                _ => return Poll::Ready(()),
            }
        }
    })
}

/// Sends FIN; reading goes on.
pub(crate) fn half_close(stream: &Socket) {
    // The peer may be gone already, which is what was wanted.
    let _ = stream.ask(|fd| SockRef::from(&fd).shutdown(Shutdown::Write));
}

/// From now on what was sent, and may still be lost, counts as not sent, but for a last small packet: a
/// socket is writable only if no more than two thirds of its buffer wait for being acknowledged, and now
/// that is the smallest there is. For what has little of it to come.
pub(crate) fn count_what_is_under_way(stream: &Socket) {
    let _ = stream.ask(|fd| SockRef::from(&fd).set_send_buffer_size(1));
}

/// Makes closing the stream send RST: a reset on one side of a tunnel is a reset on the other, and
/// a cut message must not look complete.
pub(crate) fn reset_on_close(stream: &Socket) {
    let _ = stream.ask(|fd| SockRef::from(&fd).set_linger(Some(Duration::ZERO)));
}

/// Has the socket been emptied, and has the runtime heard nothing of it since? Costs no system call.
pub(crate) fn is_quiet(stream: &Socket) -> bool {
    let news = stream.try_io(Interest::READABLE, |_| Ok(()));
    matches!(news, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Has the peer closed or spoken while nothing was expected? True for a pooled connection means
/// that it must not be used: what it says would answer somebody else's request.
///
/// The kernel is asked, not the runtime, which knows only what it saw when it last looked.
pub(crate) fn is_disturbed(stream: &Socket) -> bool {
    !matches!(peek(stream), Peer::Silent)
}

/// What a look at a socket finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Nothing to read.
    Silent,
    /// Bytes to read.
    Spoke,
    /// The end of the stream.
    Ended,
    /// An error, such as a reset.
    Gone,
}

/// Looks what there is to read, and leaves it there.
pub(crate) fn peek(stream: &Socket) -> Peer {
    match stream.ask(|fd| rustix::net::recv(fd, &mut [0; 1], RecvFlags::PEEK)) {
        Ok(Ok((_, 0))) => Peer::Ended,
        Ok(Ok(_)) => Peer::Spoke,
        Ok(Err(Errno::AGAIN)) => Peer::Silent,
        _ => Peer::Gone,
    }
}

/// Has the connection broken, whatever stands before that to be read? The kernel tells it once.
pub(crate) fn is_broken(stream: &Socket) -> bool {
    let error = stream.ask(|fd| SockRef::from(&fd).take_error());
    !matches!(error, Ok(Ok(None)))
}

/// Connects without delaying small writes. `mark` is put on the packets, so that capture rules can
/// tell our own traffic from the rest; it needs CAP_NET_ADMIN.
pub(crate) async fn connect(address: SocketAddr, mark: Option<u32>) -> io::Result<Socket> {
    let stream = match mark {
        None => TcpStream::connect(address).await?,
        Some(mark) => {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            SockRef::from(&socket).set_mark(mark)?;
            socket.connect(address).await?
        }
    };
    stream.set_nodelay(true)?;
    Ok(stream.into())
}
