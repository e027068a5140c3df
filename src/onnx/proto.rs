//! As much of the ONNX file format (Protocol Buffers) as our graphs need. Field numbers are those of `onnx.proto`.

/// Bytes of a message.
#[derive(Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn int(mut self, field: u64, value: i64) -> Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    pub(crate) fn float(mut self, field: u64, value: f32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(crate) fn text(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(crate) fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }
}

/// Element types (`TensorProto.DataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Float = 1,
    Uint8 = 2,
    Int16 = 5,
    Int64 = 7,
    Half = 10,
}

/// An argument of an operator.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attribute<'a> {
    Int(&'a str, i64),
    Float(&'a str, f32),
    Ints(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
}

impl Attribute<'_> {
    fn message(self) -> Message {
        let named = |name| Message::default().text(1, name);
        match self {
            Self::Float(name, f) => named(name).float(2, f).int(20, 1),
            Self::Int(name, i) => named(name).int(3, i).int(20, 2),
            Self::Text(name, s) => named(name).text(4, s).int(20, 3),
            Self::Ints(name, ints) => ints.iter().fold(named(name), |m, i| m.int(8, *i)).int(20, 7),
        }
    }
}

/// A constant tensor from its little-endian bytes.
pub(crate) fn tensor(name: &str, ty: Type, dims: &[usize], data: &[u8]) -> Message {
    let message = dims.iter().fold(Message::default(), |m, d| m.int(1, *d as i64));
    message.int(2, ty as i64).text(8, name).bytes(9, data)
}

/// An operation.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Attribute<'_>]) -> Message {
    let message = inputs.iter().fold(Message::default(), |m, name| m.text(1, name));
    let message = outputs.iter().fold(message, |m, name| m.text(2, name));
    let message = message.text(3, outputs[0]).text(4, operator);
    attributes.iter().fold(message, |m, a| m.message(5, &a.message()))
}

/// A size of an input or output: known, or a name for what is known when the graph runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dim<'a> {
    Fixed(usize),
    Any(&'a str),
}

/// Declares an input or an output of a graph.
pub(crate) fn value_info(name: &str, ty: Type, dims: &[Dim<'_>]) -> Message {
    let shape = dims.iter().fold(Message::default(), |m, dim| {
        m.message(
            1,
            &match dim {
                Dim::Fixed(n) => Message::default().int(1, *n as i64),
                Dim::Any(name) => Message::default().text(2, name),
            },
        )
    });
    let tensor = Message::default().int(1, ty as i64).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// 16-bit float nearest to `x`, ties to even; beyond the range the largest one, as the graphs have no use for infinity.
pub(crate) fn half_bits(x: f32) -> u16 {
    let sign = (x.to_bits() >> 16 & 0x8000) as u16;
    let x = x.abs().min(65504.0);
    if x < 6.103_515_6e-5 {
        // Subnormal: units of 2^-24.
        return sign | (x * 16_777_216.0).round_ties_even() as u16;
    }
    let bits = x.to_bits();
    let rounded = bits + 0xFFF + (bits >> 13 & 1);
    sign | ((rounded >> 13) - (112 << 10)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats() {
        for (x, bits) in [
            (0.0, 0),
            (-1.0, 0xBC00),
            (1.0, 0x3C00),
            (0.333_251_95, 0x3555),
            (65504.0, 0x7BFF),
            (1e9, 0x7BFF),
            (6.103_515_6e-5, 0x0400),
            (5.960_464_5e-8, 1),
            (2049.0, 0x6800),
            (2051.0, 0x6802),
            (-32767.0, 0xF800),
        ] {
            assert_eq!(half_bits(x), bits, "{x}");
        }
    }

    #[test]
    fn messages_are_as_protocol_buffers_has_them() {
        assert_eq!(Message::default().int(1, 150).into_bytes(), [8, 0x96, 1]);
        assert_eq!(Message::default().int(3, -1).into_bytes(), [24, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(Message::default().text(2, "testing").into_bytes(), [&[0x12, 7][..], b"testing"].concat());
        assert_eq!(Message::default().float(2, 1.0).into_bytes(), [0x15, 0, 0, 0x80, 0x3F]);
    }
}
