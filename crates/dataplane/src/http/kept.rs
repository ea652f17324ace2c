//! What was sent of a request's body, kept so that it can be sent again.
use super::body::Piece;
use bytes::Bytes;
use http::HeaderMap;
use pointsman_wire::http1::{BodyLength, ChunkDecoder, ChunkLimits};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell, RefMut};

/// What there is to be sent again of a request.
pub(super) struct Kept {
    lost: Cell<bool>,
    /// `None`: all of it lies in one piece elsewhere.
    body: Option<Box<Body>>,
}

/// Bytes of a body that were taken from the client, as they were framed for the endpoint.
struct Body {
    bytes: RefCell<Vec<u8>>,
    /// Bytes that may still be kept.
    room: Cell<usize>,
    still: Still,
    /// Bytes added last that still lie in the buffer they were read into.
    unread: Cell<usize>,
}

/// What has not been taken yet.
enum Still {
    /// This many bytes.
    Length(Cell<u64>),
    /// Chunks. Their decoder outlives the try that began with them: a chunk that is half taken was
    /// sent as a whole one, and what follows is sent as another.
    Chunks(RefCell<ChunkDecoder>),
}

impl Kept {
    /// For a request of which `still` is to come. Up to `most` bytes are kept.
    pub(super) fn new(still: BodyLength, most: usize) -> Self {
        let still = match still {
            BodyLength::None => None,
            BodyLength::Length(left) => Some(Still::Length(Cell::new(left))),
            BodyLength::Chunked => {
                let decoder = ChunkDecoder::new(ChunkLimits::default());
                Some(Still::Chunks(RefCell::new(decoder)))
            }
        };
        Self {
            lost: Cell::new(false),
            body: still.map(|still| {
                Box::new(Body {
                    bytes: RefCell::default(),
                    room: Cell::new(most),
                    still,
                    unread: Cell::new(0),
                })
            }),
        }
    }

    /// These bytes of a body with a length are about to be sent, and stay in their buffer until
    /// [`Kept::sent`].
    pub(super) fn sending(&self, piece: &[u8]) {
        if let Some(body) = &self.body {
            body.unread.set(piece.len());
            if let Still::Length(left) = &body.still {
                left.set(left.get().saturating_sub(piece.len() as u64));
            }
            self.add(piece);
        }
    }

    /// They have left their buffer.
    pub(super) fn sent(&self) {
        if let Some(body) = &self.body {
            body.unread.set(0);
        }
    }

    /// What is to be taken out of the buffer before the rest of the body is read from it.
    pub(super) fn unread(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.unread.take())
    }

    /// These bytes, as they are sent, are not with the client any more.
    pub(super) fn add(&self, bytes: &[u8]) {
        let Some(body) = self.body.as_ref().filter(|_| !self.lost.get()) else {
            return;
        };
        match body.room.get().checked_sub(bytes.len()) {
            None => self.lose(),
            Some(room) => {
                body.room.set(room);
                body.bytes.borrow_mut().extend_from_slice(bytes);
            }
        }
    }

    /// What was to be sent is not there any more.
    pub(super) fn lose(&self) {
        self.lost.set(true);
        if let Some(body) = &self.body {
            drop(body.bytes.take());
        }
    }

    /// Is everything that was sent still here?
    pub(super) fn is_whole(&self) -> bool {
        !self.lost.get()
    }

    /// What was kept, to be sent before what is still to come. It is not kept any longer, but goes
    /// on counting.
    pub(super) fn take(&self) -> Vec<u8> {
        self.body
            .as_ref()
            .map_or_else(Vec::new, |body| body.bytes.take())
    }

    /// What is still to come behind it.
    pub(super) fn still(&self) -> BodyLength {
        match self.body.as_ref().map(|body| &body.still) {
            Some(Still::Length(left)) if left.get() > 0 => BodyLength::Length(left.get()),
            Some(Still::Chunks(decoder)) if !decoder.borrow().is_done() => BodyLength::Chunked,
            None | Some(Still::Length(_) | Still::Chunks(_)) => BodyLength::None,
        }
    }

    /// Where in its chunks the body is; `None`: it has none. Not to be held while somebody waits.
    pub(super) fn chunks(&self) -> Option<RefMut<'_, ChunkDecoder>> {
        match &self.body.as_ref()?.still {
            Still::Length(_) => None,
            Still::Chunks(decoder) => Some(decoder.borrow_mut()),
        }
    }
}

/// The same of a body that travels in pieces: kept as they are, without copying, but for small ones
/// behind the first.
pub(super) struct Pieces {
    /// One is all of most bodies.
    pieces: RefCell<SmallVec<[Bytes; 1]>>,
    /// Small ones behind those, put together.
    small: RefCell<Vec<u8>>,
    /// The last of them was the last.
    ended: Cell<bool>,
    /// What came behind them.
    trailers: RefCell<Option<HeaderMap>>,
    /// Bytes whose sender knows that they have left us.
    delivered: Cell<usize>,
    /// Bytes that may still be kept; `None` once some were not.
    room: Cell<Option<usize>>,
}

/// Pieces of fewer bytes are copied: one that is not keeps all that its connection has read with it.
const SMALL: usize = 4 * 1024;

/// What is sent once more.
pub(super) enum Again {
    /// Bytes, whether they are the last, and whether their sender has been told that they have left.
    Data(Bytes, bool, bool),
    /// The end.
    End(Option<HeaderMap>),
}

impl Pieces {
    /// Up to `most` bytes are kept.
    pub(super) fn new(most: usize) -> Self {
        Self {
            pieces: RefCell::default(),
            small: RefCell::default(),
            ended: Cell::new(false),
            trailers: RefCell::default(),
            delivered: Cell::new(0),
            room: Cell::new(Some(most)),
        }
    }

    /// A piece has been taken from the client.
    pub(super) fn add(&self, piece: &Piece) {
        let Some(room) = self.room.get() else {
            return;
        };
        match piece {
            Piece::Data(bytes, last) => match room.checked_sub(bytes.len()) {
                None => self.lose(),
                room => {
                    self.room.set(room);
                    self.ended.set(*last);
                    self.keep(bytes);
                }
            },
            Piece::End(trailers) => {
                self.ended.set(true);
                *self.trailers.borrow_mut() = trailers.clone();
            }
        }
    }

    fn keep(&self, bytes: &Bytes) {
        let (mut pieces, mut small) = (self.pieces.borrow_mut(), self.small.borrow_mut());
        if !pieces.is_empty() && bytes.len() < SMALL {
            small.extend_from_slice(bytes);
            return;
        }
        if !small.is_empty() {
            pieces.push(std::mem::take(&mut *small).into());
        }
        if !bytes.is_empty() {
            pieces.push(bytes.clone());
        }
    }

    /// What was taken will not be sent again.
    pub(super) fn lose(&self) {
        self.room.set(None);
        drop((self.pieces.take(), self.small.take()));
    }

    /// Was nothing taken yet?
    pub(super) fn is_empty(&self) -> bool {
        self.pieces.borrow().is_empty() && !self.ended.get()
    }

    /// The next of these bytes have left us, and their sender knows.
    pub(super) fn delivered(&self, bytes: usize) {
        self.delivered.set(self.delivered.get() + bytes);
    }

    /// Is everything that was taken still here?
    pub(super) fn is_whole(&self) -> bool {
        self.room.get().is_some()
    }

    /// What was taken, to be sent before what is still to come.
    pub(super) fn again(&self) -> Vec<Again> {
        let mut delivered = self.delivered.get();
        let mut all = Vec::new();
        let small = Bytes::copy_from_slice(&self.small.borrow());
        for mut bytes in self.pieces.borrow().iter().cloned().chain([small]) {
            let known = bytes.split_to(delivered.min(bytes.len()));
            delivered -= known.len();
            for (bytes, delivered) in [(known, true), (bytes, false)] {
                if !bytes.is_empty() {
                    all.push(Again::Data(bytes, false, delivered));
                }
            }
        }
        if self.ended.get() {
            all.push(Again::End(self.trailers.borrow().clone()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_wire::http1::ChunkEvent;

    #[test]
    fn a_body_is_whole_until_it_is_too_large() {
        let kept = Kept::new(BodyLength::Length(10), 6);
        assert!(kept.is_whole());
        kept.sending(b"1234");
        assert_eq!(
            (kept.is_whole(), kept.still()),
            (true, BodyLength::Length(6))
        );
        assert_eq!((kept.unread(), kept.unread()), (4, 0));
        assert_eq!(kept.take(), b"1234");
        kept.sending(b"56");
        kept.sent();
        assert_eq!(kept.unread(), 0);
        assert!(kept.is_whole(), "all the room is used");
        kept.sending(b"7");
        assert!(!kept.is_whole());
        assert_eq!(
            (kept.take().len(), kept.still()),
            (0, BodyLength::Length(3))
        );
        kept.add(b"");
        assert!(!kept.is_whole(), "it does not come back");
    }

    #[test]
    fn chunks_are_taken_up_where_they_were_left() {
        let kept = Kept::new(BodyLength::Chunked, 99);
        let decode = |bytes: &[u8]| {
            let mut decoder = kept.chunks().expect("has chunks");
            decoder.decode(bytes).expect("well formed").1
        };
        assert_eq!(decode(b"3\r\nab"), ChunkEvent::Data(3..5));
        kept.add(b"2\r\nab\r\n");
        assert!(kept.is_whole());
        assert_eq!(kept.take(), b"2\r\nab\r\n");
        assert_eq!(kept.still(), BodyLength::Chunked);
        assert_eq!(decode(b"c\r\n0\r\n\r\n"), ChunkEvent::Data(0..1));
        assert_eq!(decode(b"\r\n0\r\n\r\n"), ChunkEvent::TrailersEnd);
        kept.add(b"1\r\nc\r\n0\r\n\r\n");
        assert_eq!(kept.still(), BodyLength::None);
        assert!(kept.is_whole());
        kept.lose();
        assert!(!kept.is_whole());
    }

    /// What is sent again: bytes, and whether their sender has been told; `None`: the end.
    fn again(pieces: &Pieces) -> Vec<Option<(Vec<u8>, bool)>> {
        let again = pieces.again().into_iter().map(|it| match it {
            Again::Data(bytes, _, delivered) => Some((bytes.to_vec(), delivered)),
            Again::End(_) => None,
        });
        again.collect()
    }

    #[test]
    fn pieces_are_kept_as_they_came_and_small_ones_together() {
        let pieces = Pieces::new(10_000);
        let add =
            |bytes: &[u8], last| pieces.add(&Piece::Data(Bytes::copy_from_slice(bytes), last));
        assert!(pieces.is_empty());
        add(b"", false);
        assert!(pieces.is_empty(), "there is nothing to be sent first");
        let large = vec![b'l'; SMALL];
        for bytes in [b"first".as_slice(), b"se", b"", b"cond", &large, b"third"] {
            add(bytes, false);
        }
        pieces.delivered(5);
        pieces.delivered(2);
        let sent = |bytes: &[u8], delivered| Some((bytes.to_vec(), delivered));
        let kept = [
            sent(b"first", true),
            sent(b"se", true),
            sent(b"cond", false),
        ];
        let more = [sent(&large, false), sent(b"third", false)];
        assert_eq!(again(&pieces), [&kept[..], &more].concat());
        add(b"last", true);
        let more = [sent(&large, false), sent(b"thirdlast", false), None];
        assert_eq!(again(&pieces), [&kept[..], &more].concat());
        assert!(pieces.is_whole());
    }

    #[test]
    fn one_piece_is_not_copied() {
        let pieces = Pieces::new(5);
        let bytes = Bytes::from_static(b"small");
        pieces.add(&Piece::Data(bytes.clone(), true));
        let again = pieces.again();
        assert!(
            matches!(&again[..], [Again::Data(kept, ..), Again::End(None)] if kept.as_ptr() == bytes.as_ptr())
        );
        pieces.add(&Piece::Data(bytes, false));
        assert!(!pieces.is_whole(), "beyond what is kept");
    }
}
