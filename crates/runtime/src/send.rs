//! The three verbs. Every message goes out by one of them, and says by which in its doc comment.
//!
//! | Verb | Bound | Waits | For |
//! | --- | --- | --- | --- |
//! | [`tell`] | stated by the caller | no | changes of state, ticks |
//! | [`offer`] | the mailbox's capacity | no | work that can be refused: connections |
//! | [`ask`] | the mailbox's capacity | up to its deadline | the control plane |
//!
//! None of them uses actix's own `do_send`, `try_send` or `send`, which ignore the bound, keep it
//! per handle, or wait without end; see [`crate::link`](mod@crate::link).

use actix::Message;
use std::fmt;
use std::time::Duration;
use tokio::sync::oneshot;

/// What a message can be sent to: a [`Link`](crate::Link) whose actor handles it, or an
/// [`Outlet`](crate::Outlet). Implemented by these two only.
pub trait Target<M: Message> {
    #[doc(hidden)]
    fn deliver(
        &self,
        message: M,
        reply: Option<oneshot::Sender<M::Result>>,
        bounded: bool,
    ) -> Result<(), Offered<M>>;
}

/// Sends without a bound and without an answer.
///
/// The mailbox takes the message even when it is full. So the *caller* bounds how many can be
/// outstanding, and says so where the message is declared: one per configuration change with an
/// acknowledgement awaited, one per tick, one per permit that travels in the message. Where no
/// such sentence can be written, use [`offer`].
///
/// A message to an actor that is gone is dropped, and counted as undelivered under its name.
pub fn tell<M: Message>(to: &impl Target<M>, message: M) {
    let _ = to.deliver(message, None, false);
}

/// Sends unless the mailbox is full.
///
/// A place in the mailbox is taken until the handler has returned (a future the handler returns
/// or spawns is not counted; an actor that starts work per message bounds that work itself). The
/// bound holds over all clones of the link and all threads. `tell`s take places too, so they can
/// make an offer fail, never the other way round.
///
/// # Errors
/// The message comes back: [`Offered::Full`], counted as a refusal under the actor's name, or
/// [`Offered::Dead`], counted as undelivered.
pub fn offer<M: Message>(to: &impl Target<M>, message: M) -> Result<(), Offered<M>> {
    to.deliver(message, None, true)
}

/// Sends unless the mailbox is full, and waits for the answer. For the control plane only: no
/// request ever waits on a mailbox.
///
/// Dropping the future, or letting the deadline pass, withdraws the message if its handling has
/// not begun.
///
/// # Errors
/// See [`AskError`]; after any of them except `Full` the message may or may not have been acted
/// on.
pub async fn ask<M: Message>(
    to: &impl Target<M>,
    message: M,
    deadline: Duration,
) -> Result<M::Result, AskError> {
    let (reply, answer) = oneshot::channel();
    to.deliver(message, Some(reply), true)
        .map_err(|refused| match refused {
            Offered::Full(_) => AskError::Full,
            Offered::Dead(_) => AskError::Dead,
        })?;
    match tokio::time::timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(AskError::Dead),
        Err(_) => Err(AskError::Timeout),
    }
}

/// A message that was not taken, given back.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Offered<M> {
    /// The mailbox holds as many messages as it may.
    #[error("the mailbox is full")]
    Full(M),
    /// The actor ended or failed and will not come back.
    #[error("the actor is gone")]
    Dead(M),
}

impl<M> Offered<M> {
    /// The message.
    pub fn into_inner(self) -> M {
        match self {
            Offered::Full(message) | Offered::Dead(message) => message,
        }
    }
}

impl<M> fmt::Debug for Offered<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Offered::Full(_) => "Full(..)",
            Offered::Dead(_) => "Dead(..)",
        })
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor is gone, or died with this message in hand.
    #[error("the actor died before it answered")]
    Dead,
    /// The deadline passed.
    #[error("the actor did not answer in time")]
    Timeout,
    /// The mailbox was full; the message was not sent.
    #[error("the actor's mailbox is full")]
    Full,
}
