//! Answers to requests carry no number: they come in the order of the requests. Where some are the gateway's own, a queue says whose turn
//! it is.

use std::collections::VecDeque;

use crate::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The other peer answers.
    Forwarded,
    /// Ours, when its turn comes.
    Ours(Own),
    /// Not known yet.
    Held,
}

/// What we answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Failure,
    /// Success, and then the end.
    Ended,
}

/// Unanswered requests of one side, on a channel or global.
#[derive(Debug, Default)]
pub(super) struct Replies(VecDeque<Entry>);

impl Replies {
    pub(super) fn is_full(&self, most: usize) -> bool {
        self.0.len() >= most
    }

    pub(super) fn forwarded(&mut self) {
        self.0.push_back(Entry::Forwarded);
    }

    pub(super) fn held(&mut self) {
        self.0.push_back(Entry::Held);
    }

    pub(super) fn refused(&mut self) {
        self.0.push_back(Entry::Ours(Own::Failure));
    }

    /// What was held is passed on after all, or answered by us.
    pub(super) fn settle_held(&mut self, ours: Option<Own>) {
        if let Some(entry) = self.0.iter_mut().find(|entry| **entry == Entry::Held) {
            *entry = ours.map_or(Entry::Forwarded, Entry::Ours);
        }
    }

    /// The other peer answered.
    ///
    /// # Errors
    /// It was not its turn.
    pub(super) fn answered(&mut self) -> Result<(), Error> {
        match self.0.front() {
            Some(Entry::Forwarded) => {
                self.0.pop_front();
                Ok(())
            }
            Some(Entry::Ours(_) | Entry::Held) | None => {
                Err(Error::Protocol("an answer to a request that was not made"))
            }
        }
    }

    /// Our next answer, if it is its turn.
    pub(super) fn next_ours(&mut self) -> Option<Own> {
        match self.0.front() {
            Some(Entry::Ours(own)) => {
                let own = *own;
                self.0.pop_front();
                Some(own)
            }
            Some(Entry::Forwarded | Entry::Held) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_answers_wait_for_those_before_them() {
        let mut replies = Replies::default();
        replies.forwarded();
        replies.refused();
        replies.held();
        replies.refused();
        assert_eq!(replies.next_ours(), None);
        replies.answered().unwrap();
        assert_eq!(replies.next_ours(), Some(Own::Failure));
        assert_eq!(replies.next_ours(), None);
        assert!(replies.answered().is_err());
        replies.settle_held(None);
        replies.answered().unwrap();
        assert_eq!((replies.next_ours(), replies.next_ours()), (Some(Own::Failure), None));
        assert!(replies.answered().is_err());
    }
}
