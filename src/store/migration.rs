//! The ladder of schema versions, climbed in one transaction at open.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// One step of the ladder; its number is its place in the list, from 1.
pub(super) struct Step {
    /// `NNNN_noun`, the name of the file.
    pub(super) name: &'static str,
    /// The statements.
    pub(super) sql: &'static str,
}

/// Brings `connection` to the newest of `steps`, or leaves it untouched on failure.
///
/// # Errors
/// [`StoreError::Newer`] when the file has more steps than this program knows.
pub(super) fn migrate(
    connection: &mut Connection,
    path: &Path,
    steps: &[Step],
) -> Result<(), StoreError> {
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let transaction = connection.transaction()?;
    let found: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for step in &steps[found as usize..] {
        transaction
            .execute_batch(step.sql)
            .map_err(|source| StoreError::Sqlite {
                what: step.name,
                source,
            })?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}
