//! The names of courses and lessons: what the learners play is what the catalogue lists.

/// Lessons of every course of the catalogue.
pub const LESSONS: usize = 12;
/// Courses of the catalogue.
pub const COURSES: usize = 4;

/// The id of a course; numbers start at 0.
#[must_use]
pub fn course_id(number: usize) -> String {
    if number == 0 {
        "foundations".into()
    } else {
        format!("course-{}", number + 1)
    }
}

/// The id of a lesson.
#[must_use]
pub fn lesson_id(course: usize, number: usize) -> String {
    format!("{}-lesson-{}", course_id(course), number + 1)
}
