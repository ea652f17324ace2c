//! Why a message is refused: a closed list, each with a stable word, a status and a sentence.

use std::fmt;

/// A message that is not passed on. In HTTP/1 the connection is closed after it: where the next
/// message would begin is not known. In HTTP/2 only its stream ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The status to answer with: 400, 414, 431, 501 or 505 for a request, 502 for a response.
    pub status: u16,
    /// What is wrong.
    pub reason: Reason,
}

impl Refusal {
    /// A refused request.
    #[must_use]
    pub const fn request(reason: Reason) -> Self {
        Self {
            status: reason.status(),
            reason,
        }
    }

    /// A refused response: whatever is wrong with it, its receiver is told 502.
    #[must_use]
    pub const fn response(reason: Reason) -> Self {
        Self {
            status: 502,
            reason,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reason.sentence())
    }
}

impl std::error::Error for Refusal {}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $word:literal $status:literal $sentence:literal,)*) => {
        /// What is wrong with a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = $sentence] $name,)*
        }

        impl Reason {
            /// Every reason, for tables of metric labels and documentation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// A stable `snake_case` word for logs and metric labels.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The status a request refused for this is answered with.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// One plain sentence.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    // The first line (RFC 9112 sections 2.2, 3 and 4).
    LeadingBlankLines "leading_blank_lines" 400 "More than one empty line came before the request.",
    BadRequestLine "bad_request_line" 400 "The request line is not a method, a target and a version with one blank between them.",
    BadStatusLine "bad_status_line" 502 "The status line is not a version, a three-digit status and a reason.",
    BadMethod "bad_method" 400 "The method is not a token.",
    MethodTooLong "method_too_long" 501 "The method is longer than 32 bytes.",
    BadTarget "bad_target" 400 "The request target has a byte or a form that is not allowed.",
    FragmentInTarget "fragment_in_target" 400 "The request target has a `#` in it. The library that reads HTTP/2 cuts it off, and all behind it, before anybody sees it: such a request is served without.",
    TargetTooLong "target_too_long" 414 "The request target is longer than the limit.",
    MissingVersion "missing_version" 400 "The request line has no version (HTTP/0.9).",
    UnsupportedVersion "unsupported_version" 505 "The version is neither HTTP/1.0 nor HTTP/1.1.",
    // Lines and fields (RFC 9112 sections 2.2 and 5).
    BareLf "bare_lf" 400 "A line of the head ends without a carriage return.",
    BareCr "bare_cr" 400 "A carriage return does not end a line.",
    NulByte "nul_byte" 400 "The head has a NUL byte in it.",
    ObsFold "obs_fold" 400 "A line begins with a blank (obsolete line folding).",
    SpaceBeforeColon "space_before_colon" 400 "A blank stands between a field name and its colon.",
    MissingColon "missing_colon" 400 "A field line has no colon.",
    EmptyFieldName "empty_field_name" 400 "A field has an empty name.",
    BadFieldName "bad_field_name" 400 "A field name is not a token.",
    BadFieldValue "bad_field_value" 400 "A field value has a control byte in it.",
    TooManyFields "too_many_fields" 431 "The head has more fields than the limit.",
    HeadTooLarge "head_too_large" 431 "The head is larger than the limit.",
    // Host (RFC 9112 section 3.2).
    MissingHost "missing_host" 400 "An HTTP/1.1 request has no Host field, one in HTTP/2 no authority either, or one that is redirected to another scheme or port names no host.",
    DuplicateHost "duplicate_host" 400 "The request has more than one Host field.",
    BadHost "bad_host" 400 "The Host field or the authority of the target is not a host with an optional port.",
    // Connection (RFC 9110 section 7.6.1).
    BadConnection "bad_connection" 400 "The Connection field is not a list of tokens.",
    TooManyConnectionOptions "too_many_connection_options" 400 "The Connection fields list more options than the limit.",
    // Framing (RFC 9112 section 6).
    ClAndTe "cl_and_te" 400 "The message has both Content-Length and Transfer-Encoding.",
    BadContentLength "bad_content_length" 400 "Content-Length is not a plain decimal number below 2^63.",
    DuplicateContentLength "duplicate_content_length" 400 "Content-Length fields differ, or one holds a list.",
    BadTransferEncoding "bad_transfer_encoding" 400 "Transfer-Encoding is malformed.",
    DuplicateTransferEncoding "duplicate_transfer_encoding" 400 "Transfer-Encoding is given more than once.",
    UnknownTransferCoding "unknown_transfer_coding" 501 "Transfer-Encoding names a coding other than `chunked`.",
    TeInHttp10 "te_in_http10" 400 "An HTTP/1.0 message has a Transfer-Encoding.",
    LengthWithoutBody "length_without_body" 400 "Content-Length promises a body where none can follow.",
    // HTTP/2 (RFC 9113 section 8).
    ConnectionField "connection_field" 400 "An HTTP/2 message has a field that speaks of one connection.",
    BadTe "bad_te" 400 "The TE field of an HTTP/2 request says something other than `trailers`.",
    BlankAroundValue "blank_around_value" 400 "A field value of an HTTP/2 message begins or ends with a blank.",
    AuthorityMismatch "authority_mismatch" 400 "The Host field of an HTTP/2 request differs from its authority.",
    BadScheme "bad_scheme" 400 "The scheme of an HTTP/2 request is neither `http` nor `https`.",
    UnknownProtocol "unknown_protocol" 501 "An extended CONNECT asks for a protocol other than WebSocket.",
    BadInterim "bad_interim" 502 "An HTTP/2 response has status 101, or ends with an interim head.",
    // Chunks (RFC 9112 section 7).
    BadChunkSize "bad_chunk_size" 400 "A chunk size is not 1 to 16 hexadecimal digits, or is 2^63 or more.",
    BadChunkExtension "bad_chunk_extension" 400 "A chunk extension is malformed.",
    ChunkExtensionTooLong "chunk_extension_too_long" 400 "The chunk extensions of one body are longer than the limit.",
    BadGrpcWebText "bad_grpc_web_text" 400 "A gRPC-Web body in the text form is not base64.",
    MissingChunkEnd "missing_chunk_end" 400 "The data of a chunk is not followed by CR LF.",
    TrailersTooLarge "trailers_too_large" 431 "The trailer section is larger than the limit.",
    TooManyTrailers "too_many_trailers" 431 "The trailer section has more fields than the limit.",
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}
