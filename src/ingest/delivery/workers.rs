//! Tasks that do one piece of work after the other: as many as there were pieces under way at once.
//! A task is begun where none is idle, and stays: beginning one for each piece costs more than many
//! a piece.

use std::collections::HashMap;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinSet};
use tracing::Instrument as _;

/// What a worker does.
pub(super) trait Work: Clone + Send + 'static {
    /// With what.
    type Piece: Send + 'static;
    /// Does one piece.
    fn run(&self, piece: Self::Piece) -> impl Future<Output = ()> + Send;
}

/// The way to a worker.
type Pieces<W> = mpsc::UnboundedSender<<W as Work>::Piece>;

/// Workers, by the ids of their tasks. Dropped, they cut what is under way.
pub(super) struct Workers<W: Work> {
    work: W,
    tasks: JoinSet<()>,
    busy: HashMap<Id, Pieces<W>>,
    idle: Vec<(Id, Pieces<W>)>,
    /// A worker has done its piece.
    done: (mpsc::UnboundedSender<Id>, mpsc::UnboundedReceiver<Id>),
}

impl<W: Work> Workers<W> {
    /// None yet.
    pub(super) fn new(work: W) -> Self {
        Self {
            work,
            tasks: JoinSet::new(),
            busy: HashMap::new(),
            idle: Vec::new(),
            done: mpsc::unbounded_channel(),
        }
    }

    /// Hands over a piece; the worker's id. A piece is dropped where no task can run any more.
    pub(super) fn begin(&mut self, piece: W::Piece) -> Id {
        let (id, pieces) = self.idle.pop().unwrap_or_else(|| self.spawn());
        // An idle worker is alive: nothing of its own breaks it off.
        drop(pieces.send(piece));
        self.busy.insert(id, pieces);
        id
    }

    fn spawn(&mut self) -> (Id, Pieces<W>) {
        let (pieces, mut inbox) = mpsc::unbounded_channel();
        let (work, done) = (self.work.clone(), self.done.0.clone());
        let working = async move {
            while let Some(piece) = inbox.recv().await {
                work.run(piece).await;
                if done.send(tokio::task::id()).is_err() {
                    return;
                }
            }
        };
        // Log lines of a rehearsal are told from others by its span.
        let task = self.tasks.spawn(working.in_current_span());
        (task.id(), pieces)
    }

    /// Waits for the end of a piece, in whatever way; the worker's id.
    ///
    /// # Cancel safety
    /// A future that is dropped has taken no end.
    pub(super) async fn ended(&mut self) -> Id {
        let (_, done) = &mut self.done;
        tokio::select! {
            biased;
            Some(id) = done.recv() => {
                self.idle.extend(self.busy.remove(&id).map(|pieces| (id, pieces)));
                id
            }
            // A piece that panicked ends its worker.
            Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                self.busy.remove(&id);
                id
            }
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for its piece's word; none breaks it off.
    #[derive(Clone)]
    struct Listen;

    impl Work for Listen {
        type Piece = tokio::sync::oneshot::Receiver<()>;
        async fn run(&self, piece: Self::Piece) {
            piece.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_worker_does_one_piece_after_the_other_and_one_that_breaks_off_frees_its_place() {
        let mut workers = Workers::new(Listen);
        let begin = |workers: &mut Workers<Listen>| {
            let (word, piece) = tokio::sync::oneshot::channel();
            (workers.begin(piece), word)
        };
        let (first, word) = begin(&mut workers);
        let (second, other_word) = begin(&mut workers);
        assert_ne!(first, second, "both are under way");
        word.send(()).unwrap();
        assert_eq!(workers.ended().await, first);
        let (third, word) = begin(&mut workers);
        assert_eq!(third, first, "it was idle");
        drop(other_word);
        assert_eq!(workers.ended().await, second, "it panicked");
        word.send(()).unwrap();
        assert_eq!(workers.ended().await, first);
        assert_eq!(
            (workers.tasks.len(), workers.idle.len(), workers.busy.len()),
            (1, 1, 0)
        );
        let ids = [begin(&mut workers), begin(&mut workers)].map(|(id, _)| id);
        assert!(
            ids.contains(&first) && !ids.contains(&second),
            "one that broke off is given nothing more"
        );
    }
}
