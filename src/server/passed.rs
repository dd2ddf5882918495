//! Sockets that a service manager opened and passed on to this process (`sd_listen_fds(3)`): it keeps
//! them through a restart, and calls wait in the kernel meanwhile.

use super::listen::Listener;
use listenfd::ListenFd;
use std::io;

/// Names of sockets (`FileDescriptorName=` of a systemd socket unit), in the order in which those
/// that have neither name are taken.
const NAMES: [&str; 2] = ["public", "admin"];

/// The sockets that were passed on.
#[derive(Debug, Default)]
pub struct PassedListeners {
    /// For clients.
    pub public: Option<Listener>,
    /// For operators.
    pub admin: Option<Listener>,
}

/// A socket that can't be listened on.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// There are too many.
    #[error(
        "LISTEN_FDS: found {0} sockets; allowed are two at most, the public listener's and the admin \
         listener's"
    )]
    TooMany(usize),
    /// Two have one name.
    #[error("LISTEN_FDNAMES: found two sockets for the {0} listener; allowed is one")]
    Twice(&'static str),
    /// It is no listening stream socket.
    #[error("LISTEN_FDS: socket {0} can't be listened on: {1}")]
    Unusable(usize, #[source] io::Error),
}

impl PassedListeners {
    /// Those that the environment names (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`). To be called
    /// once, from within a runtime.
    ///
    /// # Errors
    /// There are more than two, two for one listener, or one that isn't a listening socket of TCP or
    /// a Unix stream.
    pub fn take() -> Result<Self, PassedError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut passed = ListenFd::from_env();
        let count = passed.len();
        if count > NAMES.len() {
            return Err(PassedError::TooMany(count));
        }
        let mut found = Self::default();
        for (index, name) in assign(count, &names)?.into_iter().enumerate() {
            let listener =
                take(&mut passed, index).map_err(|error| PassedError::Unusable(index, error))?;
            match name {
                "public" => found.public = listener,
                _ => found.admin = listener,
            }
        }
        Ok(found)
    }
}

/// Which listener each socket is for.
fn assign(count: usize, names: &[&str]) -> Result<Vec<&'static str>, PassedError> {
    let known = |index: usize| {
        let name = names.get(index)?;
        NAMES.into_iter().find(|one| one == name)
    };
    let mut free = NAMES
        .into_iter()
        .filter(|name| (0..count).all(|index| known(index) != Some(name)));
    let mut assigned = Vec::with_capacity(count);
    for index in 0..count {
        let Some(name) = known(index).or_else(|| free.next()) else {
            return Err(PassedError::TooMany(count));
        };
        if assigned.contains(&name) {
            return Err(PassedError::Twice(name));
        }
        assigned.push(name);
    }
    Ok(assigned)
}

fn take(passed: &mut ListenFd, index: usize) -> io::Result<Option<Listener>> {
    match passed.take_tcp_listener(index) {
        Ok(listener) => listener.map(Listener::of_passed_tcp).transpose(),
        Err(_) => passed
            .take_unix_listener(index)?
            .map(Listener::of_passed_unix)
            .transpose(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_the_listeners_that_its_name_says_and_else_the_first_free_ones() {
        for (count, names, wanted) in [
            (0, &[""][..], &[][..]),
            (1, &[""], &["public"]),
            (2, &[""], &["public", "admin"]),
            (2, &["admin", "public"], &["admin", "public"]),
            (2, &["admin", "tidegate.socket"], &["admin", "public"]),
            (2, &["tidegate.socket", "public"], &["admin", "public"]),
            (1, &["admin"], &["admin"]),
        ] {
            assert_eq!(assign(count, names).unwrap(), wanted, "{names:?}");
        }
        let error = assign(2, &["public", "public"]).unwrap_err().to_string();
        assert!(
            error.contains("two sockets for the public listener"),
            "{error}"
        );
    }
}
