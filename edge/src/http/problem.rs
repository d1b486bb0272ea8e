//! Every error as the answer to a request: problem JSON that OFREP's clients can read too.

use serde_json::{Map, Value, json};

use crate::error::EdgeError;
use crate::http::reply::Reply;

impl EdgeError {
    /// The whole answer as RFC 9457 problem JSON. `flag_key` is the flag of an OFREP single evaluation.
    ///
    /// OFREP's `errorCode`, `errorDetails` and `metadata` are always there: one official client fails on a body without
    /// `metadata`, and a client cannot tell which route refused it.
    pub fn reply(&self, flag_key: Option<&str>) -> Reply {
        self.reply_with(flag_key, Map::new())
    }

    /// The same with further members, for programs.
    pub fn reply_with(&self, flag_key: Option<&str>, members: Map<String, Value>) -> Reply {
        let (status, code, retry_after_s) = self.status();
        let detail = self.to_string();
        let mut body = json!({
            "type": "about:blank", "status": status, "code": code, "detail": detail,
            "errorCode": self.ofrep_code().as_str(), "errorDetails": detail, "metadata": {},
        });
        if let Value::Object(fields) = &mut body {
            fields.extend(flag_key.map(|key| ("key".to_owned(), Value::from(key))));
            fields.extend(members);
        }
        let mut reply = Reply::json(status, body.to_string());
        if let Some(seconds) = retry_after_s {
            reply.header("retry-after", seconds.to_string());
        }
        if let Self::MethodNotAllowed { allowed } = self {
            reply.header("allow", *allowed);
        }
        if status == 401 {
            reply.header("www-authenticate", "Bearer");
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_body_is_an_object_with_metadata_and_a_code() {
        for error in
            [EdgeError::RouteNotFound, EdgeError::Backlog, EdgeError::KeyMissing, EdgeError::Internal]
        {
            let reply = error.reply(Some("a\"b"));
            let body: Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(body["metadata"], json!({}), "{error}");
            assert_eq!(body["key"], "a\"b");
            assert_eq!(body["status"], reply.status);
        }
    }

    #[test]
    fn retry_after_is_whole_seconds() {
        for error in [EdgeError::NoSnapshot, EdgeError::KeyUnsure, EdgeError::Backlog] {
            let reply = error.reply(None);
            let value = reply.headers.iter().find(|(name, _)| *name == "retry-after").map(|(_, value)| value);
            assert!(value.unwrap().parse::<u32>().is_ok());
        }
    }
}
