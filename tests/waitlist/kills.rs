//! 5,000 users, and a worker that is killed.
