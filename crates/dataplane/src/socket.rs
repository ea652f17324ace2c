//! The sockets that traffic passes through: a TCP stream that can be taken out of the poller.
//!
//! The runtime tells of everything that happens to a socket, for ever. While a tunnel or a large
//! body waits for a sink that is full, nobody wants to know that its source has more: each segment
//! that arrives there would wake the shard's thread for nothing, dozens of times for one wait. Such a
//! source is hushed (`Socket::look_away`), and listened to again as soon as somebody has to wait for it.
//! `SO_RCVLOWAT` does not do it: the kernel disregards it when memory is short.
use bytes::BufMut;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::{
    cell::{Cell, RefCell},
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll, Waker},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
};

/// A connected TCP socket.
///
/// Everybody who waits for one socket does so in one task, and is polled whenever that is. So the
/// runtime's one place for a waker of each direction is enough, and where a socket is registered
/// anew, which forgets the wakers, waking that task brings them back. Those of HTTP/2, on which
/// streams have tasks of their own, are never hushed.
#[derive(Debug)]
pub struct Socket {
    state: RefCell<State>,
    /// What the runtime had heard was thrown away, or it has heard nothing yet, see
    /// `Socket::look_away` and `Socket::listen`: only the kernel knows whether there is something to
    /// read.
    unsure: Cell<bool>,
    /// The kernel may have room of which it has not told, see `Socket::ask_for_room`.
    room: Cell<bool>,
    /// Of the task that waits for room, where others ask for it: that of a connection of HTTP/2.
    writer: RefCell<Option<Waker>>,
    /// Whoever wrote was told that the connection has broken, see `Socket::try_write_io`.
    broken: Cell<bool>,
}

#[derive(Debug)]
enum State {
    /// The runtime tells of everything.
    Heard(TcpStream),
    /// Hushed: the poller does not know it. Not even a reset is told of: whoever has hushed it reads
    /// from it next, and finds out behind what came before the reset, which is whole and still to be
    /// delivered. To hear of it earlier would be good for nothing but to throw that away; a sink that
    /// takes no more is given up by its own limits.
    ///
    /// Nor is there a cheap way. For errors alone the runtime registers a socket as for reading, and
    /// whoever waits for urgent data (`Interest::PRIORITY`) is woken by the kernel for each segment,
    /// too. As one that is written to it would hear of errors only, for two more system calls and a
    /// turn of the event loop each time that a source is hushed.
    Deaf(std::net::TcpStream),
    /// Hushed, and somebody waits to write to it. Boxed, so that it takes no room in those that never
    /// are.
    Written(Box<AsyncFd<std::net::TcpStream>>),
    /// The poller did not take it back (out of memory or watches): it is closed.
    Lost,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        State::Heard(stream).into()
    }
}

impl From<State> for Socket {
    fn from(state: State) -> Self {
        Self {
            state: RefCell::new(state),
            unsure: Cell::new(false),
            room: Cell::new(false),
            writer: RefCell::default(),
            broken: Cell::new(false),
        }
    }
}

impl Socket {
    /// The stream, for those who know nothing of hushed ones.
    ///
    /// # Errors
    /// As registering it fails, if it was hushed.
    pub fn into_stream(self) -> io::Result<TcpStream> {
        self.state.into_inner().heard()
    }

    /// Waits until there may be something to read, and listens again for that if it was hushed.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let State::Heard(stream) = &*self.state.borrow() {
            if self.unsure.get() {
                // To be tried: that makes sure.
                return Poll::Ready(Ok(()));
            }
            return stream.poll_read_ready(cx);
        }
        self.listen(cx)?;
        // Whoever waits hears of it.
        self.unsure.set(false);
        match &*self.state.borrow() {
            State::Heard(stream) => stream.poll_read_ready(cx),
            _ => Poll::Ready(Err(lost())),
        }
    }

    /// Waits until there may be room to write.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.room.get() {
            // To be tried, as above.
            return Poll::Ready(Ok(()));
        }
        match &*self.state.borrow() {
            State::Heard(stream) => return stream.poll_write_ready(cx),
            State::Written(stream) => {
                return stream.poll_write_ready(cx).map_ok(|_| ());
            }
            State::Lost => return Poll::Ready(Err(lost())),
            State::Deaf(_) => {}
        }
        let state = self.state.replace(State::Lost);
        if let State::Deaf(stream) = state {
            // The stream owns its descriptor, so what is warned of cannot be: that a descriptor
            // is closed, or is somebody else's, while it is registered.
            #[expect(deprecated, reason = "its successor is unsafe")]
            let written = AsyncFd::try_with_interest(stream, Interest::WRITABLE)?;
            self.state.replace(State::Written(Box::new(written)));
        }
        match &*self.state.borrow() {
            State::Written(stream) => stream.poll_write_ready(cx).map_ok(|_| ()),
            _ => Poll::Ready(Err(lost())),
        }
    }

    /// Reads or writes if that may be possible; `WouldBlock` from `io` means that it was not, and is
    /// remembered. What is not known of a hushed socket is asked of the kernel.
    pub(crate) fn try_io<R>(
        &self,
        interest: Interest,
        io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if interest.is_writable() && self.room.replace(false) {
            return self.ask(io)?;
        }
        match &*self.state.borrow() {
            State::Heard(stream) if self.unsure.get() && interest.is_readable() => {
                let outcome = io(stream.as_fd());
                if matches!(&outcome, Err(error) if error.kind() == ErrorKind::WouldBlock) {
                    self.unsure.set(false);
                    forget_readable(stream);
                }
                outcome
            }
            State::Heard(stream) => stream.try_io(interest, || io(stream.as_fd())),
            State::Deaf(stream) => io(stream.as_fd()),
            State::Written(stream) if interest.is_writable() => {
                stream.try_io(interest, |stream| io(stream.as_fd()))
            }
            State::Written(stream) => io(stream.as_fd()),
            State::Lost => Err(lost()),
        }
    }

    /// The same for writes. That a connection has broken the kernel tells once: whoever reads behind a write
    /// that was told would take it for ended in order. So it is kept for them.
    ///
    /// A broken pipe is none of that: the peer has ended its side before it broke the connection, or somebody
    /// was told already.
    pub(crate) fn try_write_io<R>(
        &self,
        io: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        let outcome = self.try_io(Interest::WRITABLE, io);
        if let Err(error) = &outcome
            && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::BrokenPipe)
        {
            self.broken.set(true);
        }
        outcome
    }

    /// Was whoever wrote told that the connection has broken?
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The next write asks the kernel, whatever the runtime believes. The kernel tells of room once a third
    /// of its buffer is free: a peer that reads slowly takes minutes for that.
    pub(crate) fn ask_for_room(&self) {
        self.room.set(true);
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    /// Asks the kernel, whatever the runtime believes.
    pub(crate) fn ask<R>(&self, io: impl FnOnce(BorrowedFd<'_>) -> R) -> io::Result<R> {
        Ok(match &*self.state.borrow() {
            State::Heard(stream) => io(stream.as_fd()),
            State::Deaf(stream) => io(stream.as_fd()),
            State::Written(stream) => io(stream.as_fd()),
            State::Lost => return Err(lost()),
        })
    }

    /// A read has emptied it, without saying `WouldBlock`: the next one waits for what arrives from
    /// now on, and does not ask the kernel. A closed socket stays readable.
    pub(crate) fn emptied(&self) {
        if let State::Heard(stream) = &*self.state.borrow() {
            self.unsure.set(false);
            forget_readable(stream);
        }
    }

    /// Whoever reads from it cannot go on, and is polled again: hushes it once there is news of it.
    ///
    /// To be hushed costs system calls, here and once somebody waits to read. So what was heard is
    /// forgotten first, and only a socket of which there is news since is hushed. It stays so as long
    /// as there is something to read each time.
    ///
    /// # Errors
    /// As the poller refuses; the socket is closed then.
    pub(crate) fn look_away(&self, cx: &mut Context<'_>) -> io::Result<()> {
        match &*self.state.borrow() {
            State::Heard(stream) => {
                let first = !self.unsure.replace(true);
                if first {
                    forget_readable(stream);
                }
                // This leaves the waker there. It is ready at once if the peer has ended, which is no
                // news the first time.
                match stream.poll_read_ready(cx) {
                    Poll::Ready(Ok(())) if !first => {}
                    Poll::Ready(Err(error)) => return Err(error),
                    _ => return Ok(()),
                }
            }
            State::Deaf(_) | State::Written(_) => return Ok(()),
            State::Lost => return Err(lost()),
        }
        self.hush(cx)
    }

    /// Hears nothing of what arrives any more, until somebody waits to read.
    ///
    /// # Errors
    /// As the poller refuses; the socket is closed then.
    fn hush(&self, cx: &Context<'_>) -> io::Result<()> {
        if self.is_hushed() {
            return Ok(());
        }
        if let State::Heard(stream) = self.state.replace(State::Lost) {
            self.state.replace(State::Deaf(stream.into_std()?));
            // Whoever waits to write must say so again.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Hears everything again.
    ///
    /// # Errors
    /// As the poller refuses; the socket is closed then.
    pub(crate) fn listen(&self, cx: &Context<'_>) -> io::Result<()> {
        if !self.is_hushed() {
            return Ok(());
        }
        let stream = self.state.replace(State::Lost).heard()?;
        self.state.replace(State::Heard(stream));
        // What there is now is told of once the poller is asked again. Until then it must not pass
        // for silent: what somebody left on a connection would answer the next request on it.
        self.unsure.set(true);
        // As above.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Is it hushed?
    pub(crate) fn is_hushed(&self) -> bool {
        matches!(&*self.state.borrow(), State::Deaf(_) | State::Written(_))
    }

    /// Reads once into `buffer`, or says that it would have to wait. For those of HTTP/2.
    ///
    /// # Errors
    /// `Unsupported` of a socket that was hushed once.
    pub(crate) fn try_read_buf(&self, buffer: &mut impl BufMut) -> io::Result<usize> {
        self.never_hushed(|stream| stream.try_read_buf(buffer))
    }

    /// Writes once, or says that it would have to wait.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &*self.state.borrow() {
            State::Heard(stream) if !self.room.get() => stream.try_write(bytes),
            _ => self.try_io(Interest::WRITABLE, |fd| {
                Ok(rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)?)
            }),
        }
    }

    /// The same of several pieces. For those of HTTP/2.
    ///
    /// # Errors
    /// As `Socket::try_read_buf`.
    pub(crate) fn try_write_vectored(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.room.replace(false) {
            return self.ask(|fd| {
                let mut nothing = SendAncillaryBuffer::default();
                Ok(sendmsg(fd, pieces, &mut nothing, SendFlags::NOSIGNAL)?)
            })?;
        }
        self.never_hushed(|stream| stream.try_write_vectored(pieces))
    }

    /// Writes once, as soon as there is room: the pieces one behind the other, and says how many bytes
    /// went. For those of HTTP/2, whose streams ask for room.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.poll_write_ready(cx)?.is_pending() {
                let mut writer = self.writer.borrow_mut();
                if !writer.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
                    *writer = Some(cx.waker().clone());
                }
                return Poll::Pending;
            }
            let written = match pieces {
                [one] => self.try_write(one),
                pieces => self.try_write_vectored(pieces),
            };
            match written {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn never_hushed<R>(&self, io: impl FnOnce(&TcpStream) -> io::Result<R>) -> io::Result<R> {
        match &*self.state.borrow() {
            // What the runtime believes of it is all there is to know.
            State::Heard(stream) if !self.unsure.get() => io(stream),
            _ => Err(ErrorKind::Unsupported.into()),
        }
    }

    /// The address of the other side.
    ///
    /// # Errors
    /// As `getpeername` fails: the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        address(self.ask(|fd| socket2::SockRef::from(&fd).peer_addr())??)
    }

    /// The address on this side.
    ///
    /// # Errors
    /// As `getsockname` fails.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        address(self.ask(|fd| socket2::SockRef::from(&fd).local_addr())??)
    }
}

impl State {
    fn heard(self) -> io::Result<TcpStream> {
        match self {
            Self::Heard(stream) => Ok(stream),
            Self::Deaf(stream) => TcpStream::from_std(stream),
            Self::Written(stream) => TcpStream::from_std(stream.into_inner()),
            Self::Lost => Err(lost()),
        }
    }
}

fn address(address: socket2::SockAddr) -> io::Result<SocketAddr> {
    address
        .as_socket()
        .ok_or_else(|| ErrorKind::AddrNotAvailable.into())
}

fn forget_readable(stream: &TcpStream) {
    let _ = stream.try_io(Interest::READABLE, || {
        Err::<(), _>(ErrorKind::WouldBlock.into())
    });
}

fn lost() -> io::Error {
    ErrorKind::NotConnected.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{self, Peer};
    use std::future::poll_fn;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, ReadBuf},
        net::TcpListener,
    };

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.unwrap().into(), theirs.unwrap().0)
    }

    async fn hush(socket: &Socket) {
        poll_fn(|cx| Poll::Ready(socket.hush(cx))).await.unwrap();
        assert!(socket.is_hushed());
    }

    #[tokio::test]
    async fn whoever_waits_to_read_from_a_hushed_socket_hears_it() {
        let (socket, mut peer) = pair().await;
        let mut bytes = Vec::new();
        for round in 0..3 {
            hush(&socket).await;
            if round > 0 {
                peer.write_all(b"before").await.unwrap();
            }
            let (read, ()) = tokio::join!(stream::read(&socket, &mut bytes), async {
                tokio::task::yield_now().await;
                if round == 0 {
                    peer.write_all(b"during").await.unwrap();
                }
            });
            assert_eq!(read.unwrap(), 6);
            // What was there already needs no waiting.
            assert_eq!(socket.is_hushed(), round > 0);
        }
        assert_eq!(bytes, b"duringbeforebefore");
    }

    /// A connection in a pool is asked of the kernel before it is used, and that is not fooled.
    #[tokio::test]
    async fn a_hushed_socket_is_never_taken_for_silent() {
        let (socket, mut peer) = pair().await;
        hush(&socket).await;
        assert!(!stream::is_quiet(&socket));
        assert_eq!(stream::peek(&socket), Peer::Silent);
        peer.write_all(b"x").await.unwrap();
        assert_eq!(stream::peek(&socket), Peer::Spoke);
        // Nor before the poller was asked.
        poll_fn(|cx| Poll::Ready(socket.listen(cx))).await.unwrap();
        assert!(!stream::is_quiet(&socket));
        assert_eq!(stream::arrival(&socket).await, stream::Peer::Spoke);
        assert_eq!(stream::peek(&socket), Peer::Spoke);
    }

    #[tokio::test]
    async fn whoever_waits_to_write_when_it_is_hushed_still_may() {
        let (socket, mut peer) = pair().await;
        let bytes = vec![7; 16 << 20];
        let mut got = Vec::new();
        let hushing = async {
            // The write waits by now, and then again.
            for piece in [1 << 20, 2 << 20] {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                hush(&socket).await;
                let mut some = vec![0; piece];
                peer.read_exact(&mut some).await.unwrap();
                got.extend(some);
                poll_fn(|cx| Poll::Ready(socket.listen(cx))).await.unwrap();
                assert!(!socket.is_hushed());
            }
            hush(&socket).await;
            while got.len() < bytes.len() {
                peer.read_buf(&mut got).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(stream::write_all(&socket, &bytes), hushing);
        written.unwrap();
        assert!(socket.is_hushed(), "writing does not bring it back");
        assert_eq!(got, bytes);
        assert!(socket.into_stream().is_ok());
    }

    #[tokio::test]
    async fn what_is_for_sockets_that_are_never_hushed_says_so() {
        let (socket, _peer) = pair().await;
        let mut room = [0; 4];
        let mut room = ReadBuf::new(&mut room);
        let pieces = [IoSlice::new(b"x")];
        stream::write_all(&socket, b"x").await.unwrap();
        assert_eq!(socket.try_write_vectored(&pieces).unwrap(), 1);
        hush(&socket).await;
        for _ in 0..2 {
            let read = socket.try_read_buf(&mut room).unwrap_err();
            let written = socket.try_write_vectored(&pieces).unwrap_err();
            assert_eq!(
                (read.kind(), written.kind()),
                (ErrorKind::Unsupported, ErrorKind::Unsupported)
            );
            // Nor once it was.
            poll_fn(|cx| Poll::Ready(socket.listen(cx))).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_came_before_a_reset_is_read_before_it() {
        const SENT: usize = 40_000;
        let (socket, mut peer) = pair().await;
        hush(&socket).await;
        peer.write_all(&[7; SENT]).await.unwrap();
        stream::reset_on_close(&peer.into());
        let mut got = Vec::with_capacity(8_000);
        let mut read = 0;
        let end = loop {
            match stream::read(&socket, &mut got).await {
                Ok(0) => panic!("that is no end in order"),
                Ok(some) => read += some,
                Err(error) => break error,
            }
            assert!(socket.is_hushed(), "nobody has waited");
            got.clear();
        };
        assert_eq!((read, end.kind()), (SENT, ErrorKind::ConnectionReset));
    }

    /// What is read of a connection after its peer has ended it, while somebody wrote until that was told.
    async fn read_behind_writes(end: impl FnOnce(TcpStream), spliced: bool) -> io::Result<()> {
        const SENT: usize = 40_000;
        let (socket, mut peer) = pair().await;
        peer.write_all(&[7; SENT]).await.unwrap();
        end(peer);
        let (from, mut sender) = pair().await;
        let buffers = crate::shard::buffers::Buffers::default();
        let moved = Cell::new(0);
        let counts = crate::tunnel::splice::Counts {
            moved: &moved,
            waiting: None,
        };
        for _ in 0..100 {
            if spliced {
                sender.write_all(&[8; 100]).await.unwrap();
                let all =
                    crate::tunnel::splice::exactly(&buffers, &from, &socket, 100, counts).await;
                if all.expect("a pipe").is_err() {
                    break;
                }
            } else if stream::write_all(&socket, &[8; 100]).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        // That there is no more to be told changes nothing.
        assert!(stream::write_all(&socket, b"x").await.is_err());
        let mut got = Vec::with_capacity(8_000);
        let mut read = 0;
        loop {
            match stream::read(&socket, &mut got).await {
                Ok(0) => break assert_eq!(read, SENT),
                Ok(some) => read += some,
                Err(error) => return Err(error),
            }
            got.clear();
        }
        Ok(())
    }

    /// The kernel tells a writer alone of a reset, and a reader behind that of an end.
    #[tokio::test]
    async fn a_reset_that_a_writer_was_told_of_is_no_end_for_a_reader() {
        let reset = |peer: TcpStream| stream::reset_on_close(&peer.into());
        for spliced in [false, true] {
            let end = read_behind_writes(reset, spliced).await;
            let error = end.expect_err("it was reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{spliced}");
        }
    }

    /// Whoever has ended its side has sent all, and may refuse what others still send.
    #[tokio::test]
    async fn a_reset_behind_an_end_takes_nothing_of_what_was_before() {
        for spliced in [false, true] {
            let close = |peer: TcpStream| drop(peer);
            read_behind_writes(close, spliced).await.unwrap();
            let reset = |peer: TcpStream| {
                let peer = peer.into_std().unwrap();
                peer.shutdown(std::net::Shutdown::Write).unwrap();
                stream::reset_on_close(&TcpStream::from_std(peer).unwrap().into());
            };
            read_behind_writes(reset, spliced).await.unwrap();
        }
    }

    /// What was there already when it was looked away from is not told of again.
    #[tokio::test]
    async fn what_was_forgotten_is_asked_of_the_kernel() {
        let (socket, mut peer) = pair().await;
        peer.write_all(b"there").await.unwrap();
        stream::readable(&socket).await.unwrap();
        poll_fn(|cx| Poll::Ready(socket.look_away(cx)))
            .await
            .unwrap();
        assert!(!socket.is_hushed(), "no news");
        assert!(!stream::is_quiet(&socket));
        let mut bytes = Vec::with_capacity(64);
        stream::readable(&socket).await.unwrap();
        assert_eq!(stream::read(&socket, &mut bytes).await.unwrap(), 5);
        assert!(stream::is_quiet(&socket), "it is sure again");
        // News hushes it.
        poll_fn(|cx| Poll::Ready(socket.look_away(cx)))
            .await
            .unwrap();
        peer.write_all(b"news").await.unwrap();
        poll_fn(|cx| {
            socket.look_away(cx).unwrap();
            match socket.is_hushed() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        assert_eq!(stream::read(&socket, &mut bytes).await.unwrap(), 4);
        assert_eq!(bytes, b"therenews");
    }

    #[tokio::test]
    async fn what_is_not_taken_at_once_is_what_is_left() {
        let (socket, mut peer) = pair().await;
        assert_eq!(stream::write_now(&socket, b"head"), None);
        let bytes = (0..251_u8).collect::<Vec<_>>().repeat(1 << 18);
        let rest = stream::write_now(&socket, &bytes).expect("more than a socket takes");
        assert!(!rest.is_empty() && rest.len() < bytes.len() && bytes.ends_with(rest));
        // A socket that is full takes nothing.
        assert_eq!(stream::write_now(&socket, rest), Some(rest));
        let mut got = vec![0; 4 + bytes.len()];
        let (written, read) =
            tokio::join!(stream::write_all(&socket, rest), peer.read_exact(&mut got));
        written.unwrap();
        read.unwrap();
        assert!(got.starts_with(b"head") && got.ends_with(&bytes));
        // Nor does one whose peer is gone, which is told to whoever writes on.
        drop(peer);
        while stream::write_now(&socket, b"more").is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(stream::write_now(&socket, b"more"), Some(&b"more"[..]));
        assert!(stream::write_all(&socket, b"more").await.is_err());
    }

    #[tokio::test]
    async fn what_waits_to_be_sent_shows() {
        let (socket, mut peer) = pair().await;
        assert!(stream::is_sent(&socket));
        let bytes = vec![7; 16 << 20];
        let rest = stream::write_now(&socket, &bytes).expect("more than a socket takes");
        let mut got = vec![0; bytes.len() - rest.len()];
        for _ in 0..2 {
            assert!(!stream::is_sent(&socket));
        }
        peer.read_exact(&mut got).await.unwrap();
        while !stream::is_sent(&socket) {
            tokio::task::yield_now().await;
        }
        // It takes as much as before.
        let again = stream::write_now(&socket, &bytes).expect("more than a socket takes");
        assert!(bytes.len() - again.len() > 64 * 1024);
        drop(peer);
        poll_fn(|cx| socket.poll_read_ready(cx)).await.unwrap();
        while !stream::is_sent(&socket) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_lost_socket_is_broken_not_silent() {
        let socket = Socket::from(State::Lost);
        assert_eq!(stream::peek(&socket), Peer::Gone);
        assert!(stream::is_sent(&socket));
        assert!(stream::is_disturbed(&socket));
        assert!(!stream::is_quiet(&socket));
        assert!(stream::read(&socket, &mut Vec::new()).await.is_err());
        assert!(stream::write_all(&socket, b"x").await.is_err());
        assert_eq!(stream::write_now(&socket, b"x"), Some(&b"x"[..]));
        assert!(stream::readable(&socket).await.is_err());
        assert!(poll_fn(|cx| socket.poll_write_ready(cx)).await.is_err());
        assert!(socket.peer_addr().is_err());
        assert!(socket.into_stream().is_err());
    }
}
