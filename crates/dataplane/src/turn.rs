//! Whose turn it is on a shard: one thread serves all its connections, and a peer that always has more to
//! say must not keep it to itself.
use crate::socket::Socket;
use bytes::BufMut;
use std::{
    future::Future,
    io,
    pin::pin,
    task::{Context, Poll},
};
use tokio::{io::ReadBuf, task::yield_now};

/// What a connection reads before others get their turn, which is once the runtime has looked at all
/// sockets and run whoever is ready.
///
/// The runtime's own budget counts reads, however much they bring. And a task that wakes itself has up to 61
/// turns before the sockets are looked at again.
///
/// Over HTTP/2 the others are also its streams. h2 reads as long as there is something to read, and keeps each
/// frame until its stream takes it: a burst of short messages would stand for its whole window in memory,
/// and past what `http2.small_frames_bytes` allows, although everybody is ready to take them.
#[derive(Debug, Default)]
pub(crate) struct Turn(usize);

impl Turn {
    /// With more than so many a turn is over: not with one read of a large body.
    const BYTES: usize = 64 * 1024;

    /// What a byte of framing counts besides itself.
    const FRAMING: usize = 16;

    /// Is the turn over? Then the task is woken for the next one.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 <= Self::BYTES {
            return Poll::Ready(());
        }
        self.0 = 0;
        // The first poll leaves the waker with the runtime.
        let _ = pin!(yield_now()).poll(cx);
        Poll::Pending
    }

    /// What an answer of our own counts: making one costs as much as copying that.
    const ANSWER: usize = 6 * 1024;

    /// Waits for the next turn, if this one is over.
    pub(crate) async fn wait(&mut self) {
        if self.0 > Self::BYTES {
            self.0 = 0;
            yield_now().await;
        }
    }

    /// So many bytes of what was read are no contents, but what chunks are framed by: a chunk of a single
    /// byte, which has five of them, costs as much as copying some dozen.
    pub(crate) fn framing(&mut self, bytes: usize) {
        self.0 = self.0.saturating_add(bytes.saturating_mul(Self::FRAMING));
    }

    /// A request was answered by ourselves. Nothing is waited for then, and the next one may be there.
    pub(crate) fn answer(&mut self) {
        self.0 = self.0.saturating_add(Self::ANSWER);
    }

    /// Bytes were read; `all`: the socket is empty, so that the next read waits anyway.
    pub(crate) fn read(&mut self, bytes: usize, all: bool) {
        self.0 = if all { 0 } else { self.0 + bytes };
    }
}

/// The turns of a connection of HTTP/2, in which small frames count for more than their bytes.
#[derive(Debug, Default)]
pub(crate) struct FrameTurn {
    turn: Turn,
    /// What a byte of the last read counted for.
    price: usize,
}

impl FrameTurn {
    /// What a frame counts besides its bytes: one of a single byte costs as much as copying some hundred.
    const FRAME: usize = 256;

    /// What is read at once at least: of fewer bytes the price would say nothing.
    const LEAST: usize = 1024;

    /// As [`Turn::poll`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.turn.poll(cx)
    }

    /// Reads once into `buffer`, or says that it would have to wait. `received` is shown what was read, and
    /// says how many frames there are in it.
    pub(crate) fn try_read(
        &mut self,
        stream: &Socket,
        buffer: &mut ReadBuf<'_>,
        received: impl FnOnce(&mut [u8]) -> usize,
    ) -> io::Result<usize> {
        let before = buffer.filled().len();
        let room = self.room().min(buffer.remaining());
        let read = stream.try_read_buf(&mut buffer.limit(room))?;
        // A read that leaves room has emptied the socket, see `stream::try_read`.
        let all = read > 0 && read < room;
        if all {
            stream.emptied();
        }
        let fresh = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        self.read(read, received(fresh), all);
        Ok(read)
    }

    /// As [`Turn::read`], of bytes with so many frames in them.
    pub(crate) fn read(&mut self, bytes: usize, frames: usize, all: bool) {
        let counts = bytes + frames * Self::FRAME;
        if !all {
            self.price = counts.div_ceil(bytes.max(1));
        }
        self.turn.read(counts, all);
    }

    /// How much to read at most: what the turn has left for small frames, if those were the last.
    fn room(&self) -> usize {
        match self.price {
            0..=4 => usize::MAX,
            price => (Turn::BYTES.saturating_sub(self.turn.0) / price).max(Self::LEAST),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::shard::buffers::SMALL;
    use std::{cell::Cell, future::poll_fn, io::Write, rc::Rc, task::ready, thread};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream, UnixStream},
        task::{LocalSet, spawn_local},
    };

    /// One of ours, and its peer.
    fn pair() -> (Socket, std::net::TcpStream) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        (TcpStream::from_std(ours).unwrap().into(), peer)
    }

    /// A socket whose peer has sent as much of these bytes, again and again, as there is room for, and goes
    /// on as soon as there is more.
    pub(crate) fn sender(bytes: &[u8]) -> Socket {
        let (ours, mut peer) = pair();
        let bytes = bytes.repeat(60_000 / bytes.len());
        peer.set_nonblocking(true).unwrap();
        let mut rest = 0;
        while let Ok(sent) = peer.write(&bytes[rest..]) {
            rest = (rest + sent) % bytes.len();
        }
        peer.set_nonblocking(false).unwrap();
        thread::spawn(move || {
            if peer.write_all(&bytes[rest..]).is_ok() {
                while peer.write_all(&bytes).is_ok() {}
            }
        });
        ours
    }

    /// A chunk of one byte.
    pub(crate) const CHUNK: &[u8] = b"1\r\nx\r\n";

    /// How many of them there are in a read, with the rest of one before: that is a turn.
    pub(crate) const CHUNKS: u64 = (SMALL / CHUNK.len()) as u64 + 1;

    /// A socket whose peer reads all there is.
    pub(crate) fn reader() -> Socket {
        let (ours, mut peer) = pair();
        thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
        ours
    }

    /// The most that was `moved` by one poll of `body`, until that are 300,000 bytes of contents.
    pub(crate) async fn longest_turn<T>(
        body: impl Future<Output = T>,
        moved: impl Fn() -> u64,
    ) -> u64 {
        let (mut body, mut most) = (pin!(body), 0);
        poll_fn(|cx| {
            let before = moved();
            let polled = body.as_mut().poll(cx);
            most = most.max(moved() - before);
            match polled.is_ready() || moved() >= 300_000 {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        assert!(moved() >= 300_000, "it ended by itself");
        most
    }

    /// On a shard, how many turns a task that always has more to read gets between two looks of the runtime at
    /// its sockets, at most. `next` waits for one.
    async fn between_looks(next: impl AsyncFn(&mut Turn) + 'static) -> u32 {
        let looks = async {
            let turns = Rc::new(Cell::new(0));
            let busy = spawn_local({
                let turns = turns.clone();
                async move {
                    let mut turn = Turn::default();
                    loop {
                        turn.read(Turn::BYTES + 1, false);
                        next(&mut turn).await;
                        turns.set(turns.get() + 1);
                    }
                }
            });
            let (mut ours, mut peer) = UnixStream::pair().unwrap();
            let mut most = 0;
            for _ in 0..20 {
                peer.write_all(b"x").await.unwrap();
                let before = turns.get();
                // With room left, so that the next read waits for news.
                assert_eq!(ours.read(&mut [0; 8]).await.unwrap(), 1);
                most = most.max(turns.get() - before);
            }
            busy.abort();
            assert!(turns.get() > 0);
            most
        };
        LocalSet::new().run_until(looks).await
    }

    #[tokio::test]
    async fn sockets_are_looked_at_between_turns() {
        let polled = between_looks(async |turn| poll_fn(|cx| turn.poll(cx)).await);
        let polled = polled.await;
        assert!(polled <= 2, "{polled}");
        let waited = between_looks(async |turn| turn.wait().await);
        let waited = waited.await;
        assert!(waited <= 2, "{waited}");
    }

    /// The bytes of each turn of who reads as h2 does, out of a socket full of frames of this length.
    async fn turns_of_frames(length: usize) -> Vec<usize> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, peer) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (ours, (mut peer, _)) = (Socket::from(ours.unwrap()), peer.unwrap());
        let [.., l1, l0] = length.to_be_bytes();
        let mut frame = vec![0, l1, l0, 0, 0, 0, 0, 0, 1];
        frame.resize(9 + length, b'x');
        let frames = frame.repeat(400_000 / frame.len());
        let mut turn = FrameTurn::default();
        let (mut turns, mut left) = (Vec::new(), frames.len());
        let mut room = vec![0; frame.len().max(8 * 1024)];
        let read = poll_fn(|cx| {
            turns.push(0);
            while left > 0 {
                ready!(turn.poll(cx));
                ready!(ours.poll_read_ready(cx)).unwrap();
                match turn.try_read(&ours, &mut ReadBuf::new(&mut room), |fresh| {
                    fresh.len() / frame.len()
                }) {
                    Ok(read) => {
                        *turns.last_mut().unwrap() += read;
                        left -= read;
                    }
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            Poll::Ready(())
        });
        let (written, ()) = tokio::join!(peer.write_all(&frames), read);
        written.unwrap();
        turns
    }

    #[tokio::test]
    async fn turns_of_small_frames_are_short() {
        for (length, most) in [(1, 4 * 1024), (100, 32 * 1024), (16 * 1024, 82 * 1024)] {
            let mut turns = turns_of_frames(length).await;
            turns.retain(|bytes| *bytes > 0);
            // The first read cannot know.
            assert!(
                turns.iter().skip(1).all(|bytes| *bytes <= most),
                "{turns:?}"
            );
        }
    }
}
