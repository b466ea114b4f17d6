//! Of ONNX's protobuf (`onnx.proto`), the messages and fields that are looked at before the runtime
//! is given the file. Fields that are not named here are skipped.
//!
//! A decoded message takes memory by the bytes that are there: a list grows as its elements are
//! read, and messages nest at most 100 deep.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct Model {
    #[prost(message, optional, tag = "7")]
    pub graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    pub functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Function {
    #[prost(message, repeated, tag = "7")]
    pub nodes: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    pub initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub inputs: Vec<Value>,
    #[prost(message, repeated, tag = "12")]
    pub outputs: Vec<Value>,
    #[prost(message, repeated, tag = "15")]
    pub sparse_initializers: Vec<Sparse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Node {
    #[prost(string, repeated, tag = "1")]
    pub inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub outputs: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub operator: String,
    #[prost(message, repeated, tag = "5")]
    pub attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    pub domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attribute {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, tag = "3")]
    pub int: i64,
    #[prost(message, optional, tag = "5")]
    pub tensor: Option<Tensor>,
    #[prost(message, optional, boxed, tag = "6")]
    pub graph: Option<Box<Graph>>,
    #[prost(float, repeated, tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub ints: Vec<i64>,
    /// In UTF-8, says the standard.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "10")]
    pub tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    pub graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    pub sparse_tensor: Option<Sparse>,
    #[prost(message, repeated, tag = "23")]
    pub sparse_tensors: Vec<Sparse>,
}

/// A tensor whose zeros are left out. That there is one is all that is asked.
#[derive(Clone, PartialEq, Message)]
pub struct Sparse {}

#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    pub dimensions: Vec<i64>,
    /// An [`super::element`] number.
    #[prost(int32, tag = "2")]
    pub element: i32,
    #[prost(float, repeated, tag = "4")]
    pub floats: Vec<f32>,
    #[prost(int32, repeated, tag = "5")]
    pub ints: Vec<i32>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub strings: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "7")]
    pub longs: Vec<i64>,
    #[prost(string, tag = "8")]
    pub name: String,
    /// Little endian, without gaps; used instead of the lists.
    #[prost(bytes = "vec", tag = "9")]
    pub raw: Vec<u8>,
    #[prost(double, repeated, tag = "10")]
    pub doubles: Vec<f64>,
    #[prost(uint64, repeated, tag = "11")]
    pub unsigned: Vec<u64>,
    /// Where the data lie in another file.
    #[prost(message, repeated, tag = "13")]
    pub external: Vec<External>,
    /// 1: in another file.
    #[prost(int32, tag = "14")]
    pub location: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct External {}

/// The name and type of a graph's input or output.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Kind {
    /// Absent for a sequence, a map, a sparse tensor, an optional.
    #[prost(message, optional, tag = "1")]
    pub tensor: Option<TensorKind>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TensorKind {
    #[prost(int32, tag = "1")]
    pub element: i32,
    /// Absent: of any rank.
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    #[prost(message, repeated, tag = "1")]
    pub dimensions: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dimension {
    /// Absent: any, perhaps with a name, such as `batch`.
    #[prost(int64, optional, tag = "1")]
    pub size: Option<i64>,
}

impl Node {
    /// By its name, or its operator where it has none.
    pub fn title(&self) -> String {
        match (self.name.as_str(), self.domain.as_str()) {
            ("", "") => format!("the {} node", self.operator),
            ("", domain) => format!("the {domain}:{} node", self.operator),
            (name, _) => format!("node `{name}` ({})", self.operator),
        }
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// One of the operators of classical machine learning.
    pub fn is_ml(&self, operator: &str) -> bool {
        self.domain == "ai.onnx.ml" && self.operator == operator
    }
}

impl Graph {
    /// Those inputs that are given for each run. Old files list their weights among the inputs.
    pub fn fed(&self) -> impl Iterator<Item = &Value> {
        let weight = |name: &str| self.initializers.iter().any(|tensor| tensor.name == name);
        self.inputs.iter().filter(move |input| !weight(&input.name))
    }
}
