//! Verdicts: what they come to on a channel, at once or when people have answered.

use std::sync::Arc;

use weir_policy::{Denial, MaskPlan, Permit, SshKind, Timestamp, Verdict};
use weir_wire::{Action, Lane, Outbox};

use super::channels::{Masks, channel_of};
use super::entry::Asked;
use super::{Question, Spare, SshMachine, Trouble, legs};
use crate::relay::{ChannelId, Decision};

const APPROVED: &str = "weir: approved";

impl SshMachine {
    pub(super) fn decided(
        &mut self,
        lane: Lane,
        verdict: Verdict,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Action, Trouble> {
        match self.asked.take() {
            Some(asked) => self.at_once(asked, verdict, now, out, spare),
            None => self.later(channel_of(lane), verdict, out, spare),
        }
    }

    fn at_once(
        &mut self,
        asked: Asked,
        verdict: Verdict,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Action, Trouble> {
        let Asked { channel, .. } = asked;
        let kind = asked.question.kind();
        match verdict {
            Verdict::Allow(permit) => match self.oblige(channel, kind, &permit) {
                Ok(()) => {
                    self.begun(channel, kind);
                    self.conclude(&asked, Decision::Allow, now, out, spare)
                }
                Err(why) => self.refuse(&asked, why, now, out, spare),
            },
            Verdict::Deny(denial) => {
                let text = self.denial_text(channel, kind, &denial);
                self.refuse(&asked, &text, now, out, spare)
            }
            Verdict::Hold(hold) => {
                let text = self.line(channel, &format!("weir: held: {}", hold.terms.message));
                if let Some(channel) = channel {
                    self.words(Some(channel), &text, out);
                    self.held.insert(channel, asked.question.clone());
                }
                self.conclude(&asked, Decision::Hold(&text), now, out, spare)
            }
        }
    }

    fn refuse(
        &mut self,
        asked: &Asked,
        text: &str,
        now: Timestamp,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Action, Trouble> {
        self.words(asked.channel, text, out);
        self.conclude(asked, Decision::Deny(text), now, out, spare)
    }

    /// People have answered, or time has.
    fn later(
        &mut self,
        channel: ChannelId,
        verdict: Verdict,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Action, Trouble> {
        let Some(question) = self.held.remove(&channel) else { return Ok(Action::Discard { len: 0 }) };
        let text = match &verdict {
            Verdict::Allow(permit) => match self.oblige(Some(channel), question.kind(), permit) {
                Ok(()) => None,
                Err(why) => Some(why.to_owned()),
            },
            Verdict::Deny(denial) => Some(self.denial_text(Some(channel), question.kind(), denial)),
            // By a further rule: it waits on.
            Verdict::Hold(hold) => {
                return self.held_again(channel, question, &hold.terms.message, out, spare);
            }
        };
        let Some(relay) = &mut self.relay else { return Ok(Action::Discard { len: 0 }) };
        let decision = match &text {
            Some(text) => Decision::Deny(text),
            None => Decision::Allow,
        };
        let released = relay.release(channel, decision, &mut spare.letters).map_err(Trouble::ours)?;
        if released {
            match &text {
                Some(text) => self.words(Some(channel), text, out),
                None => {
                    self.begun(Some(channel), question.kind());
                    self.say(channel, APPROVED, out, spare)?;
                }
            }
            self.parked.push_back(channel);
        }
        self.post(out, spare)?;
        self.forget(channel);
        Ok(Action::Discard { len: 0 })
    }

    fn held_again(
        &mut self,
        channel: ChannelId,
        question: Question,
        message: &str,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<Action, Trouble> {
        self.held.insert(channel, question);
        self.say(channel, &format!("weir: held: {message}"), out, spare)?;
        self.post(out, spare)?;
        Ok(Action::Discard { len: 0 })
    }

    fn say(
        &mut self,
        channel: ChannelId,
        text: &str,
        out: &mut Outbox,
        spare: &mut Spare,
    ) -> Result<(), Trouble> {
        let text = self.line(Some(channel), text);
        if let Some(relay) = &mut self.relay {
            relay.say(channel, &text, &mut spare.letters).map_err(Trouble::ours)?;
        }
        self.words(Some(channel), &text, out);
        Ok(())
    }

    /// Programs may begin, and forwardings: their outcome will follow.
    fn begun(&mut self, channel: Option<ChannelId>, kind: SshKind) {
        if let Some(channel) = channel
            && kind.runs()
        {
            self.channels.entry(channel).or_insert_with(|| super::Channel::new(channel, kind)).runs = true;
        }
    }

    /// What a permit owes on its channel.
    ///
    /// # Errors
    /// What it owes cannot be done, in words for the client: so it is not allowed either.
    fn oblige(
        &mut self,
        channel: Option<ChannelId>,
        kind: SshKind,
        permit: &Permit,
    ) -> Result<(), &'static str> {
        let of_patterns = |plan: &&Arc<MaskPlan>| !plan.patterns.is_empty();
        let Some(plan) = permit.obligations().mask.as_ref().filter(of_patterns) else { return Ok(()) };
        if kind == SshKind::Forward {
            return Err("what is forwarded cannot be masked, and answers are masked for you here");
        }
        let (Some(id), true) = (channel, kind.runs()) else { return Ok(()) };
        let masks = Masks::new(plan).map_err(
            |()| "a mask rule's pattern is too wide for a stream: what it protects could not be masked",
        )?;
        let Some(relay) = &mut self.relay else { return Ok(()) };
        let channel = self.channels.entry(id).or_insert_with(|| super::Channel::new(id, kind));
        channel.masks = Some(Box::new(masks));
        relay.rewrite(id, legs::relayed(weir_wire::Side::Upstream));
        Ok(())
    }

    /// Text for the client, who shows none where a variable is refused, and wants none.
    fn denial_text(&self, channel: Option<ChannelId>, kind: SshKind, denial: &Denial) -> String {
        match kind {
            SshKind::Env | SshKind::Listen => String::new(),
            SshKind::Forward => format!("{} (rule {})", denial.message, denial.rule),
            SshKind::Agent | SshKind::Exec | SshKind::Shell | SshKind::Subsystem | SshKind::X11 => {
                self.line(channel, &format!("weir: denied: {} (rule {})", denial.message, denial.rule))
            }
        }
    }

    /// With the line's end that the client's terminal needs: one that a program drives is raw.
    fn line(&self, channel: Option<ChannelId>, text: &str) -> String {
        let raw = channel.and_then(|channel| self.channels.get(&channel)).is_some_and(|it| it.pty);
        format!("{text}{}", if raw { "\r\n" } else { "\n" })
    }
}
