//! LaunchDarkly
