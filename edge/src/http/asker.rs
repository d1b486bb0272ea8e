//! Who sent a request, as far as events are marked with it: key, network, bot. Keeps no address.

use flagfuse_shared::snapshot::KeyId;

use crate::beacon::handover::Asker;
use crate::config::Config;
use crate::trust::bots::is_bot;

/// The marks of a request: from its address, where the platform names one, and its user agent.
pub fn asker(config: &Config, key: KeyId, address: Option<&str>, user_agent: Option<&str>) -> Asker {
    let network = config.networks.as_ref().map_or(0, |networks| networks.hash(address));
    Asker { key: key.to_string(), network, is_bot: is_bot(user_agent) }
}
