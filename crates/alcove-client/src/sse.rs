//! Server-sent events, as the HTML standard describes them.

/// The longest message that is kept; a longer one is dropped, so that a broken peer can't take all memory.
const MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// One message of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseMessage {
    /// Its id, to resume after it.
    pub id: Option<String>,
    /// Its kind; empty for the default.
    pub event: String,
    /// What it carries.
    pub data: String,
}

/// Takes bytes as they come and gives whole messages.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    after_cr: bool,
    message: SseMessage,
    has_data: bool,
    too_long: bool,
}

impl SseParser {
    /// Takes the next bytes; returns the messages that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<SseMessage> {
        let mut done = Vec::new();
        for &byte in bytes {
            // CR, LF and CRLF each end a line once.
            let follows_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if follows_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    done.extend(self.take_line(&line));
                }
                _ if self.line.len() >= MESSAGE_BYTES => self.too_long = true,
                _ => self.line.push(byte),
            }
        }
        done
    }

    fn take_line(&mut self, line: &[u8]) -> Option<SseMessage> {
        if line.is_empty() {
            let message = std::mem::take(&mut self.message);
            let whole = std::mem::take(&mut self.has_data) && !std::mem::take(&mut self.too_long);
            return whole.then_some(message);
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" if self.message.data.len() + value.len() > MESSAGE_BYTES => self.too_long = true,
            "data" => {
                if self.has_data {
                    self.message.data.push('\n');
                }
                self.message.data.push_str(value);
                self.has_data = true;
            }
            "event" => value.clone_into(&mut self.message.event),
            "id" if !value.contains('\0') => self.message.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: Option<&str>, event: &str, data: &str) -> SseMessage {
        SseMessage { id: id.map(str::to_owned), event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn messages_are_whole_however_they_are_cut() {
        let text = ": hello\r\n\r\nid: 7\r\nevent: task\r\ndata: {\"a\":1}\r\n\r\ndata:x\ndata: y\n\nid: 9\n\n";
        let expected = vec![message(Some("7"), "task", "{\"a\":1}"), message(None, "", "x\ny")];
        for size in 1..text.len() {
            let mut parser = SseParser::default();
            let got: Vec<_> = text.as_bytes().chunks(size).flat_map(|c| parser.push(c)).collect();
            assert_eq!(got, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_message_without_end_takes_no_more_memory() {
        let mut parser = SseParser::default();
        assert!(parser.push(b"data: ").is_empty());
        for _ in 0..=MESSAGE_BYTES / 65_536 {
            assert!(parser.push(&[b'x'; 65_536]).is_empty());
        }
        assert!(parser.line.len() <= MESSAGE_BYTES);
        assert!(parser.push(b"\n\n").is_empty());
        assert_eq!(parser.push(b"data: ok\n\n"), vec![message(None, "", "ok")]);
    }
}
