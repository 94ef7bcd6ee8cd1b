//! What a timeout and a token are given.

use super::{Bomb, armed, ended, ms};
use crate::support::paused;
use selvedge::cancel::Token;
use selvedge::timeout::with_timeout;

/// What `with_timeout` and `run_until_cancelled` are given is their caller's:
/// the panic of its destructor surfaces there.
#[test]
fn of_a_timeout_and_of_a_token() {
    let said = ended(|| {
        let _ = paused().block_on(with_timeout(armed::<()>("future", None), ms(10)));
    });
    assert_eq!(said, Err("future"));
    let said = ended(|| {
        let token = Token::new();
        let stopped = token.clone();
        let armed = async move {
            let _bomb = Bomb("future");
            stopped.cancel();
            std::future::pending::<()>().await;
        };
        let _ = paused().block_on(token.run_until_cancelled(armed));
    });
    assert_eq!(said, Err("future"));
}
