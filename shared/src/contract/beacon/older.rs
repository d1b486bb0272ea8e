//! Format 1 of what was kept as format 2, for a control plane that is older than the edge. Text in, text out.

use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::strict;

/// The `events` of format 1, without brackets, of the `requests` of format 2; `id` names exposures, in their order. What
/// format 1 has no words for (source, network, bots) is left out. `None` for a text that no edge wrote.
pub fn as_format_1(requests: &str, mut id: impl FnMut() -> String) -> Option<String> {
    let array = format!("[{requests}]");
    let mut out = String::with_capacity(requests.len() + requests.len() / 4);
    for request in strict::list(&array)? {
        let fields = strict::fields(request.get().as_bytes()).ok()?;
        let received = field(&fields, "received_ms")?.get();
        let sent = field(&fields, "sent_ms").map(RawValue::get);
        for raw in field(&fields, "events").map_or(Some(Vec::new()), |events| strict::items(events).ok())? {
            begin(&mut out);
            let _ = write!(out, "{{\"received_ms\":{received},");
            if let Some(sent) = sent {
                let _ = write!(out, "\"sent_ms\":{sent},");
            }
            let _ = write!(out, "\"raw\":{}}}", raw.get());
        }
        let first_ms: u64 = received.parse().ok()?;
        for group in
            field(&fields, "exposures").map_or(Some(Vec::new()), |groups| strict::items(groups).ok())?
        {
            write_group(&mut out, group, first_ms, &mut id)?;
        }
    }
    Some(out)
}

fn write_group(
    out: &mut String,
    group: &RawValue,
    first_ms: u64,
    id: &mut impl FnMut() -> String,
) -> Option<()> {
    let fields = strict::fields(group.get().as_bytes()).ok()?;
    let text = |name: &str| field(&fields, name).map(RawValue::get);
    let (flag, phase, version) = (text("flag")?, text("phase")?, text("version")?);
    let variations = strict::items(field(&fields, "variations")?).ok()?;
    for shown in strict::items(field(&fields, "units")?).ok()? {
        let items = strict::items(shown).ok()?;
        let [unit, variation, after_ms, ..] = items.as_slice() else { return None };
        let variation = variations.get(variation.get().parse::<usize>().ok()?)?.get();
        let at_ms = first_ms + after_ms.get().parse::<u64>().ok()?;
        let (unit, id) = (unit.get(), id());
        begin(out);
        let slices = items.get(5).map_or_else(String::new, |slices| format!(",\"slices\":{}", slices.get()));
        let _ = write!(
            out,
            "{{\"received_ms\":{at_ms},\"raw\":{{\"id\":\"{id}\",\"type\":\"exposure\",\"unit\":{unit},\
             \"occurred_ms\":{at_ms},\"flag\":{flag},\"variation\":{variation},\"phase\":{phase},\"version\":{version}{slices}}}}}"
        );
    }
    Some(())
}

fn begin(out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
}

fn field<'f>(fields: &[(String, &'f RawValue)], name: &str) -> Option<&'f RawValue> {
    fields.iter().find(|(own, _)| own == name).map(|(_, value)| *value)
}
