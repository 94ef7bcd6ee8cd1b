//! The macros by example.

/// As [`std::thread_local!`]: a model's threads have their own, in every
/// execution anew.
#[cfg(not(any(loom, feature = "model")))]
#[macro_export]
macro_rules! thread_local {
    ($($all:tt)*) => { ::std::thread_local! { $($all)* } };
}

/// As [`std::thread_local!`]: a model's threads have their own, in every
/// execution anew.
#[cfg(all(feature = "model", not(loom)))]
#[macro_export]
macro_rules! thread_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block $(; $($rest:tt)*)?) => {
        $crate::thread_local! { $(#[$attr])* $vis static $name: $t = $init $(; $($rest)*)? }
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attr])*
        $vis static $name: $crate::thread::LocalKey<$t> = {
            fn init() -> $t { $init }
            fn real() -> &'static ::std::thread::LocalKey<$t> {
                $crate::private::std_thread_local! { static REAL: $t = init() }
                &REAL
            }
            $crate::thread::LocalKey { real, init }
        };
        $($crate::thread_local! { $($rest)* })?
    };
}

/// As [`std::thread_local!`], with loom's.
#[cfg(loom)]
#[macro_export]
macro_rules! thread_local {
    ($($all:tt)*) => { $crate::private::loom::thread_local! { $($all)* } };
}

/// Marks a line that some execution of the model must reach, or the model
/// fails: a test of what never happens shows nothing.
///
/// The model has to be told of it ([`Model::reaches_line`](crate::Model::reaches_line),
/// `#[model(reachable = ["name"])]`). Outside of a model it does nothing.
#[macro_export]
macro_rules! reachable {
    ($name:literal) => {
        $crate::private::mark($name)
    };
}

/// What only a loom build has.
#[doc(hidden)]
#[cfg(loom)]
#[macro_export]
macro_rules! only_loom {
    ($($all:tt)*) => { $($all)* };
}

/// What only a loom build has.
#[doc(hidden)]
#[cfg(not(loom))]
#[macro_export]
macro_rules! only_loom {
    ($($all:tt)*) => {};
}

/// What a loom build has not.
#[doc(hidden)]
#[cfg(not(loom))]
#[macro_export]
macro_rules! not_loom {
    ($($all:tt)*) => { $($all)* };
}

/// What a loom build has not.
#[doc(hidden)]
#[cfg(loom)]
#[macro_export]
macro_rules! not_loom {
    ($($all:tt)*) => {};
}

/// As [`tokio::select!`]: which branch is polled first is random, and tried in
/// every way inside of a model.
#[cfg(all(feature = "tokio", not(feature = "model"), not(loom)))]
#[macro_export]
macro_rules! select {
    ($($all:tt)*) => { $crate::private::tokio::select! { $($all)* } };
}

/// As [`tokio::select!`]: which branch is polled first is random, and tried in
/// every way inside of a model.
///
/// ```
/// # #[cfg(not(loom))] {
/// use selvedge_model::{Model, select, task, time};
/// use std::time::Duration;
///
/// // Both are ready: either may be taken.
/// let report = Model::new("either").reaches_async(["one", "two"], || async {
///     let other = task::spawn(async {});
///     let first = select! {
///         () = std::future::ready(()) => "one",
///         () = std::future::ready(()) => "two",
///     };
///     other.await.unwrap();
///     first
/// });
/// assert_eq!(report.outcomes, 2);
/// # }
/// ```
#[cfg(all(feature = "tokio", feature = "model", not(loom)))]
#[macro_export]
macro_rules! select {
    ($($all:tt)*) => { $crate::private::select_any! { ($crate) $($all)* } };
}
