//! What a tensor is made of: ONNX's numbers for the types of elements.

pub const F32: i32 = 1;
pub const I32: i32 = 6;
pub const I64: i32 = 7;
pub const TEXT: i32 = 8;
pub const BOOLEAN: i32 = 9;
pub const F64: i32 = 11;

/// As the standard spells it.
pub fn name(element: i32) -> &'static str {
    const NAMES: [&str; 17] = [
        "undefined",
        "float",
        "uint8",
        "int8",
        "uint16",
        "int16",
        "int32",
        "int64",
        "string",
        "bool",
        "float16",
        "double",
        "uint32",
        "uint64",
        "complex64",
        "complex128",
        "bfloat16",
    ];
    usize::try_from(element).ok().and_then(|number| NAMES.get(number)).unwrap_or(&"unknown")
}

/// Bytes of one element in a tensor's raw data; `None` where an element has no bytes of its own
/// (strings, numbers of 4 bits) or is of a type that is not known here.
pub fn bytes(element: i32) -> Option<u64> {
    match element {
        2 | 3 | BOOLEAN | 17..=20 => Some(1),
        4 | 5 | 10 | 16 => Some(2),
        F32 | I32 | 12 => Some(4),
        I64 | F64 | 13 | 14 => Some(8),
        15 => Some(16),
        _ => None,
    }
}
