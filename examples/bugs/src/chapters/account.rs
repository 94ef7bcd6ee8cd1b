//! An audit that is right by accident. (SCTBench, `CS.account`.)
//!
//! An account gets a deposit and a withdrawal, from two threads. A third audits
//! it once both are booked, and stays quiet before.
//!
//! **The bug.** The audit takes the deposit for a fee. As long as it runs
//! before one of the others has ended, which it nearly always does, nobody
//! sees.
//!
//! **Mended.** The sum is right.

use super::prim::{sync::Mutex, thread};
use std::sync::Arc;

const START: i32 = 1;
const DEPOSIT: i32 = 2;
const WITHDRAWAL: i32 = 4;

struct Account {
    balance: i32,
    deposited: bool,
    withdrawn: bool,
}

/// A deposit, a withdrawal, and an audit.
pub fn body(mended: bool) {
    let account = Account { balance: START, deposited: false, withdrawn: false };
    let account = Arc::new(Mutex::new(account));
    let audit = thread::spawn({
        let account = Arc::clone(&account);
        move || {
            let account = account.lock().unwrap();
            if account.deposited && account.withdrawn {
                let sign = if mended { 1 } else { -1 };
                let sum = START + sign * DEPOSIT - WITHDRAWAL;
                assert_eq!(account.balance, sum, "the books are wrong");
            }
        }
    });
    let deposit = thread::spawn({
        let account = Arc::clone(&account);
        move || {
            let mut account = account.lock().unwrap();
            account.balance += DEPOSIT;
            account.deposited = true;
        }
    });
    let withdraw = thread::spawn(move || {
        let mut account = account.lock().unwrap();
        account.balance -= WITHDRAWAL;
        account.withdrawn = true;
    });
    for thread in [audit, deposit, withdraw] {
        thread.join().unwrap();
    }
}
