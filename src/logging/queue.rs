//! The bounded queue of lines, and the thread that writes them.

use super::line::Line;
use super::settings::Format;
use std::io::Write;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Lines that may wait: a line holds about 2 KB of texts at most (`line.rs`).
const MOST: usize = 8_192;
/// Bytes that are written at once.
const PIECE: usize = 64 << 10;

/// What the thread is sent.
pub(super) enum Message {
    /// A line.
    Line(Box<Line>),
    /// Everything that waits is to be written; the sender is told.
    Flush(SyncSender<()>),
}

/// Hands lines to the thread.
#[derive(Debug)]
pub(super) struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// A queue whose thread writes to `out`; the thread ends when the queue is dropped.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(format: Format, out: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(MOST);
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer {
            format,
            out,
            lost: Arc::clone(&lost),
        };
        let thread = std::thread::Builder::new().name("access-log".to_owned());
        thread.spawn(move || writer.run(&receiver))?;
        Ok(Self { sender, lost })
    }

    /// A line is written, or lost where the queue is full: its caller never waits.
    pub(super) fn push(&self, line: Line) {
        if self.sender.try_send(Message::Line(Box::new(line))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything that was pushed before is written. It blocks its thread.
    pub(super) fn flush(&self) {
        let (told, heard) = sync_channel(1);
        if self.sender.send(Message::Flush(told)).is_ok() {
            // An error says that the thread has ended, and nothing is left to wait for.
            _ = heard.recv();
        }
    }
}

struct Writer {
    format: Format,
    out: Box<dyn Write + Send>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    /// Writes what waits in large pieces, so that a busy sidecar makes few system calls.
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut text = String::new();
        while let Ok(first) = receiver.recv() {
            let mut flushes = Vec::new();
            for message in iter::once(first).chain(receiver.try_iter()).take(MOST) {
                match message {
                    Message::Line(line) => {
                        line.write(self.format, &mut text);
                        if text.len() >= PIECE {
                            self.write_out(&mut text);
                        }
                    }
                    Message::Flush(told) => flushes.push(told),
                }
            }
            self.write_out(&mut text);
            for told in flushes {
                // An error says that nobody waits any more.
                _ = told.send(());
            }
        }
    }

    fn write_out(&mut self, text: &mut String) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            Line::Lost(lost).write(self.format, text);
        }
        // A stream that takes nothing any more must not end the process, nor fill the memory.
        drop(self.out.write_all(text.as_bytes()));
        drop(self.out.flush());
        text.clear();
    }
}
