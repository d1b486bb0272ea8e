//! The wire format of protobuf: fields of a message, one after the other, nothing copied.

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("it ends within a field")]
    Truncated,
    #[error("a number has more than ten bytes")]
    Varint,
    #[error("a field has the number 0")]
    FieldNumber,
    #[error("a field has the wire type {0}, which is none of OTLP's")]
    WireType(u64),
    #[error("field {0} has another type than OTLP's")]
    OtherType(u64),
    #[error("a text is not UTF-8")]
    Utf8,
}

/// A field's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value<'b> {
    Varint(u64),
    Fixed64(u64),
    /// A text, bytes or a message.
    Bytes(&'b [u8]),
    Fixed32,
}

impl<'b> Value<'b> {
    /// The bytes of field `number`.
    pub(crate) const fn bytes(self, number: u64) -> Result<&'b [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32 => Err(Malformed::OtherType(number)),
        }
    }

    /// The text of field `number`.
    pub(crate) fn text(self, number: u64) -> Result<&'b str, Malformed> {
        std::str::from_utf8(self.bytes(number)?).map_err(|_| Malformed::Utf8)
    }

    /// The eight bytes of field `number`.
    pub(crate) const fn fixed(self, number: u64) -> Result<u64, Malformed> {
        match self {
            Self::Fixed64(bits) => Ok(bits),
            Self::Varint(_) | Self::Bytes(_) | Self::Fixed32 => Err(Malformed::OtherType(number)),
        }
    }

    /// The number of field `number`.
    pub(crate) const fn varint(self, number: u64) -> Result<u64, Malformed> {
        match self {
            Self::Varint(found) => Ok(found),
            Self::Fixed64(_) | Self::Bytes(_) | Self::Fixed32 => Err(Malformed::OtherType(number)),
        }
    }
}

/// The fields of a message that are still to come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'b>(pub(crate) &'b [u8]);

impl<'b> Message<'b> {
    /// The next field with its number; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'b>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(Malformed::FieldNumber);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = self.varint()?;
                let len = usize::try_from(len).map_err(|_| Malformed::Truncated)?;
                let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed::Truncated)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            other => return Err(Malformed::WireType(other)),
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Malformed::Truncated)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Varint)
    }

    fn array<const LEN: usize>(&mut self) -> Result<[u8; LEN], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(*array)
    }
}

/// Appends a number.
pub(crate) fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

/// Appends a field that is a number; one that is 0 is left out.
pub(crate) fn put_number(bytes: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        put_varint(bytes, number << 3);
        put_varint(bytes, value);
    }
}

/// Appends a field that is bytes.
pub(crate) fn put_bytes(bytes: &mut Vec<u8>, number: u64, value: &[u8]) {
    put_varint(bytes, number << 3 | 2);
    put_varint(bytes, value.len() as u64);
    bytes.extend_from_slice(value);
}
