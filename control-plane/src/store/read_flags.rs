//! Flags as they were read last, so that whoever reads an environment again parses only those that are others now. Of thousands
//! of flags parsing took most of the time for which a change of one holds up everybody who writes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use flagfuse_shared::definition::FlagWire;
use flagfuse_shared::ids::Scope;

use super::{Connection, StoreError, flags, json_column};

/// Environments that are remembered, those that were read last: one of thousands of flags takes some ten MiB.
const KEPT_COUNT_MAX: usize = 4;

/// Parsed flags by the very text that they were parsed from, so that none is ever taken for another one: what a transaction
/// that is undone later reads does no harm.
type ByText = HashMap<String, Arc<FlagWire>>;

/// Flags that were read lately.
#[derive(Debug, Default)]
pub struct ReadFlags {
    /// The environment that was read last comes last.
    kept: Mutex<VecDeque<(Scope, ByText)>>,
}

impl ReadFlags {
    /// All flags of an environment as the transaction sees them, in any order.
    pub async fn read(&self, conn: &mut Connection, scope: &Scope) -> Result<Vec<Arc<FlagWire>>, StoreError> {
        let texts = flags::texts(conn, scope).await?;
        let mut before = self.take(scope);
        let mut read = Vec::with_capacity(texts.len());
        let mut now = ByText::with_capacity(texts.len());
        for text in texts {
            let (text, wire) = if let Some(known) = before.remove_entry(&text) {
                known
            } else {
                let wire = Arc::new(json_column("flags.body", &text)?);
                (text, wire)
            };
            read.push(Arc::clone(&wire));
            now.insert(text, wire);
        }
        self.keep(scope.clone(), now);
        Ok(read)
    }

    /// Nothing where somebody else reads it at this moment.
    fn take(&self, scope: &Scope) -> ByText {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|(own, _)| own == scope);
        at.and_then(|at| kept.remove(at)).map(|(_, flags)| flags).unwrap_or_default()
    }

    fn keep(&self, scope: Scope, flags: ByText) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(own, _)| *own != scope);
        if kept.len() >= KEPT_COUNT_MAX {
            kept.pop_front();
        }
        kept.push_back((scope, flags));
    }
}
