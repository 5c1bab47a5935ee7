//! The user's folders for data and for what can be made again.
//!
//! Source: XDG Base Directory Specification 0.8.
use std::ffi::OsString;
use std::path::PathBuf;

/// The folder of data, such as records; `None` if nothing says where.
pub(crate) fn data() -> Option<PathBuf> {
    find("XDG_DATA_HOME", ".local/share", &|name| {
        std::env::var_os(name)
    })
}

/// The folder of what can be made again, such as the machine's profile; `None` if nothing says
/// where.
pub(crate) fn cache() -> Option<PathBuf> {
    find("XDG_CACHE_HOME", ".cache", &|name| std::env::var_os(name))
}

/// The specification has relative paths ignored.
fn find(name: &str, usual: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name: &str| {
        variable(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let folder = absolute(name).or_else(|| absolute("HOME").map(|home| home.join(usual)))?;
    Some(folder.join("tensmith"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_folders_do_not_count() {
        let folder = |xdg: &str, home: &str| {
            let variable = |name: &str| match name {
                "HOME" => Some(home.into()),
                _ => Some(xdg.into()),
            };
            let found = find("XDG_DATA_HOME", ".local/share", &variable);
            found.map(|f| f.display().to_string())
        };
        assert_eq!(folder("/x", "/h").as_deref(), Some("/x/tensmith"));
        let usual = Some("/h/.local/share/tensmith");
        assert_eq!(folder("x", "/h").as_deref(), usual);
        assert_eq!(folder("", "/h").as_deref(), usual);
        assert_eq!(folder("", "h"), None);
    }
}
