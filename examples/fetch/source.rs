//! Where the URLs come from.

use selvedge::queue::{self, Receiver, Sender};
use std::io::{self, BufRead};

/// The URLs of the command line in turn, `-` being standard input. A thread of
/// its own reads that, no further ahead than the queue is long; a failure to
/// read is the cause with which the queue is closed.
pub(crate) fn urls(args: Vec<String>) -> Receiver<String> {
    let (sender, receiver) = queue::bounded(selvedge::nz!(64));
    // Not joined: a read of standard input may never return.
    std::thread::spawn(move || {
        if let Err(error) = feed(args, &sender) {
            sender.close_with(format!("cannot read standard input: {error}"));
        }
    });
    receiver
}

fn feed(args: Vec<String>, sender: &Sender<String>) -> io::Result<()> {
    for arg in args {
        if arg == "-" {
            for line in io::stdin().lock().split(b'\n') {
                let line = line?;
                let url = String::from_utf8_lossy(&line).trim().to_owned();
                if !url.is_empty() && sender.send(url).is_err() {
                    return Ok(());
                }
            }
        } else if sender.send(arg).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
