//! The addresses that a learner calls.

use super::session::Site;
use http::Uri;

/// Those that don't change.
pub struct Addresses {
    /// Progress of a lesson.
    pub lesson: Uri,
    /// Progress of a course.
    pub course: Uri,
    /// The state of a whole course.
    pub snapshot: Uri,
    /// Progress of an assigned course.
    pub assignment: Uri,
    /// What the learner does on the page.
    pub analytics: Uri,
    /// The dashboard.
    pub summary: Uri,
    /// The catalogue.
    pub courses: Uri,
}

impl Addresses {
    /// On this site.
    ///
    /// # Errors
    /// One is none.
    pub fn try_new(site: &Site) -> Result<Self, http::uri::InvalidUri> {
        Ok(Self {
            lesson: site.uri("/api/client/progress/lesson")?,
            course: site.uri("/api/client/progress/course")?,
            snapshot: site.uri("/api/learner/progress")?,
            assignment: site.uri("/api/client/assignments/progress")?,
            analytics: site.uri("/api/analytics/events")?,
            summary: site.uri("/api/client/progress/summary")?,
            courses: site.uri("/api/client/courses")?,
        })
    }
}
