//! Which database, and how it is opened.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyPool, Connection as _};
use thiserror::Error;
use url::Url;

use super::limited::Pool;
use super::{Bell, Store, StoreError, on_postgres};

/// How long a connection may be waited for. Shorter than the deadline of an HTTP answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection is known to live after it was used: a server that restarts takes longer.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// Readers beside the one writer of SQLite: more than two cores can use.
const SQLITE_READERS_MAX: u32 = 4;
/// Connections of one instance to PostgreSQL, whose default allows 100 for all.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum Database {
    /// A file of this machine, for one process.
    Sqlite(PathBuf),
    /// A server, for many.
    Postgres(Url),
}

/// Shown without the password.
impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite {}", path.display()),
            Self::Postgres(url) => {
                let host = url.host_str().unwrap_or("localhost");
                write!(f, "postgres {host}{}", url.path())
            }
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A database URL that names none of the databases there are.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "a database URL is sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/NAME (a reserved \
     character of the password is %-encoded)"
)]
pub struct InvalidDatabase;

impl FromStr for Database {
    type Err = InvalidDatabase;

    fn from_str(text: &str) -> Result<Self, InvalidDatabase> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(InvalidDatabase)
            } else {
                Ok(Self::Sqlite(path.into()))
            };
        }
        let url = Url::parse(text).map_err(|_| InvalidDatabase)?;
        let has_name = url.path().len() > 1;
        match url.scheme() {
            "postgres" | "postgresql" if has_name => Ok(Self::Postgres(connectable(url))),
            _ => Err(InvalidDatabase),
        }
    }
}

impl Database {
    /// The server that these parts name; the password may hold any character.
    pub fn postgres(
        host: &str,
        port: u16,
        username: &str,
        password: Option<&str>,
        name: &str,
    ) -> Result<Self, InvalidDatabase> {
        let mut url = Url::parse("postgres://localhost").map_err(|_| InvalidDatabase)?;
        let in_brackets = host.parse::<Ipv6Addr>().ok().map(|address| format!("[{address}]"));
        let host = in_brackets.as_deref().unwrap_or(host);
        url.set_host(Some(host)).map_err(|_| InvalidDatabase)?;
        url.set_port(Some(port)).map_err(|()| InvalidDatabase)?;
        url.set_username(username).map_err(|()| InvalidDatabase)?;
        url.set_password(password).map_err(|()| InvalidDatabase)?;
        url.set_path(name);
        Ok(Self::Postgres(connectable(url)))
    }

    /// Whether the database can be reached. Makes nothing: a SQLite file that is not there
    /// yet is as good as one that is, if its directory can be.
    pub async fn reach(&self) -> Result<(), StoreError> {
        sqlx::any::install_default_drivers();
        let url = match self {
            Self::Sqlite(path) if path.exists() => format!("sqlite://{}?mode=rw", path.display()),
            Self::Sqlite(_) => return Ok(()),
            Self::Postgres(url) => url.to_string(),
        };
        let pool = AnyPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).connect(&url).await?;
        let pool = Pool::new(pool);
        sqlx::query("SELECT 1").execute(&pool).await?;
        pool.close().await;
        Ok(())
    }

    /// Opens the database and brings its tables up to date. Several instances may do so at
    /// once: PostgreSQL lets one of them migrate while the others wait.
    pub async fn open(&self) -> Result<Store, StoreError> {
        sqlx::any::install_default_drivers();
        match self {
            Self::Sqlite(path) => open_sqlite(path).await,
            Self::Postgres(url) => {
                let pool = pool(POSTGRES_CONNECTIONS_MAX).connect(url.as_str()).await?;
                migrate(&pool).await?;
                on_postgres::tell(&pool).await?;
                let pool = Pool::new(pool);
                let (reader, bell) = (pool.clone(), Bell::default());
                Ok(Store { reader, writer: pool, bell, is_postgres: true })
            }
        }
    }
}

/// sqlx would look up an IPv6 address with its brackets as a name; as a parameter it has none.
fn connectable(mut url: Url) -> Url {
    if let Some(url::Host::Ipv6(address)) = url.host() {
        url.query_pairs_mut().append_pair("host", &address.to_string());
    }
    url
}

/// The file is made if it is missing. The writer comes first, since it makes the tables.
async fn open_sqlite(path: &Path) -> Result<Store, StoreError> {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let writer = sqlite_pool(1).connect(&url).await?;
    migrate(&writer).await?;
    let reader = sqlite_pool(SQLITE_READERS_MAX).connect(&url).await?;
    let (reader, writer) = (Pool::new(reader), Pool::new(writer));
    Ok(Store { reader, writer, bell: Bell::default(), is_postgres: false })
}

async fn migrate(pool: &AnyPool) -> Result<(), StoreError> {
    Ok(sqlx::migrate!().run(pool).await?)
}

/// By itself a pool asks before every statement whether the connection lives, which doubles the
/// way to the server and back.
fn pool(connections_max: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, usage| {
            Box::pin(async move {
                if usage.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

fn sqlite_pool(connections_max: u32) -> AnyPoolOptions {
    pool(connections_max).after_connect(|connection, _| {
        Box::pin(async move {
            // FULL: a commit is on the disk before it is reported.
            for pragma in [
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA busy_timeout = 3000",
                "PRAGMA foreign_keys = ON",
            ] {
                sqlx::query(pragma).execute(&mut *connection).await?;
            }
            Ok(())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_database_and_its_password_is_never_shown() {
        let sqlite: Database = "sqlite:data/j.db".parse().unwrap();
        assert_eq!(sqlite, Database::Sqlite("data/j.db".into()));
        let postgres: Database = "postgres://u:hush@db.example/waitlist".parse().unwrap();
        let shown = format!("{postgres} {postgres:?}");
        assert_eq!(shown, "postgres db.example/waitlist postgres db.example/waitlist");
        for wrong in ["", "sqlite:", "mysql://h/n", "postgres://h", "waitlist"] {
            assert_eq!(wrong.parse::<Database>(), Err(InvalidDatabase), "{wrong}");
        }
    }

    #[test]
    fn parts_may_hold_any_character() {
        let database = Database::postgres("h", 5432, "u", Some("p@ss:/w#rd"), "n").unwrap();
        let Database::Postgres(url) = database else { panic!("postgres") };
        assert_eq!(url.as_str(), "postgres://u:p%40ss%3A%2Fw%23rd@h:5432/n");
    }

    #[tokio::test]
    async fn an_ipv6_address_is_connected_to() {
        let listener = tokio::net::TcpListener::bind("[::1]:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let of_parts = Database::postgres("::1", port, "u", None, "n").unwrap();
        let of_url: Database = format!("postgres://u@[::1]:{port}/n").parse().unwrap();
        for database in [of_parts, of_url] {
            tokio::select! {
                answer = listener.accept() => drop(answer.unwrap()),
                error = database.reach() => panic!("it did not get here: {error:?}"),
            }
        }
    }
}
