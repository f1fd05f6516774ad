//! One frame of the remoting protocol (Java `RemotingCommand`).

use super::Fields;
use bytes::Bytes;

/// Largest frame: length field and payload together (`com.rocketmq.remoting.frameMaxLength`).
pub const MAX_FRAME: usize = 16 * 1024 * 1024;
/// Flag bit of a response.
pub const FLAG_RESPONSE: i32 = 1;
/// Flag bit of a request that wants no response.
pub const FLAG_ONEWAY: i32 = 2;

/// How the header of a frame is written. The body is the same in both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Type byte 0: a JSON object in fastjson's dialect.
    #[default]
    Json,
    /// Type byte 1: the binary header. Codes lose their upper 16 bits in it.
    RocketMq,
}

/// Who wrote a frame (Java `LanguageCode`); the number is the byte of the binary header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Language {
    #[default]
    Java = 0,
    Cpp = 1,
    Dotnet = 2,
    Python = 3,
    Delphi = 4,
    Erlang = 5,
    Ruby = 6,
    Other = 7,
    Http = 8,
    Go = 9,
    Php = 10,
    Oms = 11,
    Rust = 12,
    NodeJs = 13,
}

impl Language {
    /// Every language with its name on the wire, by code.
    const ALL: [(Language, &'static str); 14] = [
        (Language::Java, "JAVA"),
        (Language::Cpp, "CPP"),
        (Language::Dotnet, "DOTNET"),
        (Language::Python, "PYTHON"),
        (Language::Delphi, "DELPHI"),
        (Language::Erlang, "ERLANG"),
        (Language::Ruby, "RUBY"),
        (Language::Other, "OTHER"),
        (Language::Http, "HTTP"),
        (Language::Go, "GO"),
        (Language::Php, "PHP"),
        (Language::Oms, "OMS"),
        (Language::Rust, "RUST"),
        (Language::NodeJs, "NODE_JS"),
    ];
    /// The name in a JSON header.
    pub fn name(self) -> &'static str {
        Language::ALL[self as usize].1
    }
    /// The language of a name; [`Language::Other`] when it is unknown.
    pub fn from_name(name: &str) -> Language {
        Language::ALL.iter().find(|(_, known)| *known == name).map_or(Language::Other, |(language, _)| *language)
    }
    /// The language of a byte of the binary header; [`Language::Other`] when it is unknown.
    pub fn from_code(code: u8) -> Language {
        Language::ALL.get(usize::from(code)).map_or(Language::Other, |(language, _)| *language)
    }
}

/// A request or a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Request code, or response code when [`FLAG_RESPONSE`] is set.
    pub code: i32,
    /// The program at the other end.
    pub language: Language,
    /// Ordinal of the writer's release (`MQVersion`); decides features.
    pub version: i32,
    /// Pairs a response with its request, per connection and direction.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`] and [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Error text, or a status name.
    pub remark: Option<String>,
    /// The custom header.
    pub fields: Fields,
    /// Encoding of the header.
    pub encoding: Encoding,
    /// The body; empty when absent.
    pub body: Bytes,
    /// More slices of the body, written behind it: a pull is answered straight from the log without copying. Always empty
    /// in a decoded frame.
    pub rest: Vec<Bytes>,
}

/// Bytes that are not a frame. The connection is to be closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length field is over [`MAX_FRAME`] or too small for a header.
    #[error("a frame of {0} bytes is outside 4..=16777216")]
    Length(u32),
    /// The header does not fit into the frame.
    #[error("a header of {header} bytes does not fit into a frame of {frame}")]
    HeaderLength {
        /// Length of the header.
        header: u32,
        /// Length of the frame.
        frame: u32,
    },
    /// The type byte is neither 0 nor 1.
    #[error("unknown header encoding {0}")]
    Encoding(u8),
    /// The header does not decode.
    #[error("broken header: {0}")]
    Header(String),
}

/// Bytes of the fields of a usual header.
const USUAL_FIELDS: usize = 384;

/// The release that our own frames name: V5_5_0.
pub const OUR_VERSION: i32 = 513;
/// Its name (Java `MQVersion.getVersionDesc`).
pub const OUR_VERSION_NAME: &str = "V5_5_0";

impl Frame {
    /// A request of ours; the opaque number is set by whoever sends it.
    pub fn request(code: i32) -> Frame {
        Frame {
            code,
            language: Language::Rust,
            version: OUR_VERSION,
            opaque: 0,
            flag: 0,
            remark: None,
            fields: Fields::default(),
            encoding: Encoding::Json,
            body: Bytes::new(),
            rest: Vec::new(),
        }
    }
    /// The response to `request`, with its opaque number. Written in JSON whatever the request was written in, as a Java
    /// server does by default.
    pub fn response(request: &Frame, code: i32) -> Frame {
        Frame { opaque: request.opaque, flag: FLAG_RESPONSE, language: Language::Java, ..Frame::request(code) }
    }
    /// With an error text or status name.
    #[must_use]
    pub fn with_remark(mut self, remark: impl Into<String>) -> Frame {
        self.remark = Some(remark.into());
        self
    }
    /// With a body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Frame {
        self.body = body.into();
        self
    }
    /// With a custom header behind the fields that are there.
    #[must_use]
    pub fn with_header(mut self, header: &impl super::Header) -> Frame {
        if self.fields.is_empty() {
            self.fields = Fields::with_capacity(USUAL_FIELDS);
        }
        header.write(&mut self.fields);
        self
    }
    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }
    /// Whether nobody waits for a response.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }
}
