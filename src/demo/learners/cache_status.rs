//! What the `Cache-Status` (RFC 9211) of an answer says.

/// Whether a `Cache-Status` says that the sidecar waited for the learner's pending events in vain,
/// and asked the upstream without them.
#[must_use]
pub fn is_past_barrier(status: &str) -> bool {
    says(status, "detail=barrier-timeout")
}

/// Whether a `Cache-Status` (RFC 9211) says that the nearest cache answered.
#[must_use]
pub fn is_hit(status: &str) -> bool {
    says(status, "hit")
}

/// Whether the nearest cache's part of a `Cache-Status` has this parameter.
fn says(status: &str, wanted: &str) -> bool {
    let nearest = status.rsplit(',').next().unwrap_or_default();
    nearest
        .split(';')
        .skip(1)
        .any(|parameter| parameter.trim() == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_what_the_nearest_cache_calls_one() {
        for (status, hit) in [
            ("Tidegate; hit", true),
            ("Tidegate; hit; ttl=12", true),
            ("Tidegate;hit;ttl=0", true),
            ("Tidegate; fwd=miss; stored", false),
            ("Tidegate; fwd=stale; detail=hit", false),
            ("Origin; hit, Tidegate; fwd=miss", false),
            ("Origin; fwd=miss, Tidegate; hit", true),
            ("", false),
        ] {
            assert_eq!(is_hit(status), hit, "{status}");
        }
    }

    #[test]
    fn only_the_barrier_s_own_word_excuses_a_stale_read() {
        for (status, past) in [
            ("tidegate; fwd=bypass; detail=barrier-timeout", true),
            (
                "tidegate; fwd=bypass; detail=barrier-timeout; fwd-status=200",
                true,
            ),
            ("origin; detail=barrier-timeout, tidegate; hit", false),
            ("tidegate; fwd=bypass; detail=pending", false),
            ("tidegate; hit; ttl=3", false),
            ("tidegate; fwd=uri-miss; stored", false),
        ] {
            assert_eq!(is_past_barrier(status), past, "{status}");
        }
    }
}
