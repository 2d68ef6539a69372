//! Which paths of Debian's tree stay out of the image.

/// A list of patterns, one a line. A pattern takes everything under it along.
#[derive(Debug, Default)]
pub(super) struct Prune {
    patterns: Vec<Vec<String>>,
}

impl Prune {
    /// Reads the list.
    pub(super) fn parse(text: &str) -> Self {
        let patterns = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split('/').map(str::to_owned).collect())
            .collect();
        Self { patterns }
    }

    /// Whether the path, relative to the root, stays out.
    pub(super) fn takes(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        self.patterns.iter().any(|pattern| {
            names.len() >= pattern.len() && pattern.iter().zip(&names).all(|(pattern, name)| matches(pattern, name))
        })
    }
}

/// `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_is_under_them() {
        let prune = Prune::parse("# comment\nusr/share/doc\n\nvar/*\nusr/bin/apt*\nusr/lib/system/*.wants\n");
        for path in [
            "./usr/share/doc/",
            "usr/share/doc/a/b",
            "./var/lib",
            "var/lib/dpkg/status",
            "usr/bin/apt",
            "usr/bin/apt-get",
            "usr/lib/system/sysinit.target.wants/a.service",
        ] {
            assert!(prune.takes(path), "{path}");
        }
        for path in
            ["./usr/share/", "usr/share/doc-base", "var", "./var/", "usr/bin/cat", "usr/lib/system/a.service", "./"]
        {
            assert!(!prune.takes(path), "{path}");
        }
    }

    #[test]
    fn stars_stand_for_any_text() {
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(matches("*", ""));
        assert!(!matches("a*b", "a"));
        assert!(!matches("ab", "abc"));
    }
}
