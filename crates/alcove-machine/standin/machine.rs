//! The part of the emulator: pidfile with its lock, sockets, the control protocol, and a guest that counts.
//!
//! Words of the script: `die-at-start=WORDS`, `no-sandbox`, `no-mapped-ram`, `no-ignore-shared`,
//! `save-fails=WORDS`, `die-during-save`, `save-never-ends`, `die-after-save`, `load-fails=WORDS`, `die-at-cont`, `ignore-power`, `no-button`,
//! `ignore-quit`, `never-greet`;
//! and, read again at each point, `hold=POINT`: `before:pidfile`, `after:pidfile`, `before:COMMAND` and `after:COMMAND` of
//! the control protocol, `before:PATH` of a call to the guest, `before:poweroff`.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::{
        fs::FileExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Script, guest::Happening};

struct Machine {
    script: Script,
    options: HashMap<String, Vec<String>>,
    run_state: String,
    count: u64,
    migration: Option<(String, String)>,
    mapped: bool,
    ignore_shared: bool,
    /// The guest's memory, where that is a file: its count lies at the place [`COUNT`].
    memory: Option<File>,
    door: u16,
    listeners: Vec<UnixStream>,
    console_taken: bool,
}

/// Where the guest keeps its count in its memory.
const COUNT: u64 = 1 << 20;

type Shared = Arc<Mutex<Machine>>;

fn held(machine: &Shared) -> MutexGuard<'_, Machine> {
    machine.lock().unwrap_or_else(PoisonError::into_inner)
}

fn die(words: &str) -> ! {
    eprintln!("qemu-system-x86_64: {words}");
    std::process::exit(1);
}

pub(crate) fn run(script: &Script, program: &Path, arguments: &[String]) -> i32 {
    let mut options: HashMap<String, Vec<String>> = HashMap::new();
    let mut rest = arguments.iter().peekable();
    while let Some(flag) = rest.next() {
        let value = rest.next_if(|v| !v.starts_with('-')).cloned().unwrap_or_default();
        options.entry(flag.clone()).or_default().push(value);
    }
    if let Some(words) = script.value("die-at-start") {
        die(words);
    }
    if script.says("no-sandbox") && options.contains_key("-sandbox") {
        die("-sandbox support is not enabled in this QEMU binary");
    }
    let one = |flag: &str| options.get(flag).and_then(|v| v.first()).cloned().unwrap_or_default();
    // As QEMU: read once, before anything answers. What was read is kept beside for the tests.
    let blob = key(&one("-fw_cfg"), "file").unwrap_or_default();
    match fs::read(&blob) {
        Ok(content) => drop(fs::write(program.with_file_name("fw_cfg"), content)),
        Err(error) => die(&format!("can't load {blob}: {error}")),
    }
    for flag in ["-kernel", "-initrd"] {
        if !Path::new(&one(flag)).is_file() {
            die(&format!("could not open kernel file '{}'", one(flag)));
        }
    }

    let memory = options.get("-object").and_then(|o| o.iter().find(|v| v.starts_with("memory-backend-file,")));
    let memory = memory.map(|object| {
        let path = key(object, "mem-path").unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).open(&path);
        file.unwrap_or_else(|e| die(&format!("can't open backing store {path} for guest RAM: {e}")))
    });
    script.pass("before:pidfile");
    let pidfile = one("-pidfile");
    let lock = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&pidfile);
    let lock = lock.unwrap_or_else(|e| die(&format!("cannot create PID file: {e}")));
    if rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        die("cannot create PID file: Cannot lock pid file");
    }
    let _ = (&lock).write_all(format!("{}\n", std::process::id()).as_bytes());

    script.pass("after:pidfile");
    let door =
        TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| die(&format!("Could not set up host forwarding: {e}")));
    let port = door.local_addr().map(|a| a.port()).unwrap_or(0);
    let incoming = options.contains_key("-incoming");
    let machine = Arc::new(Mutex::new(Machine {
        script: script.clone(),
        run_state: if incoming { "inmigrate" } else { "prelaunch" }.into(),
        count: 0,
        migration: None,
        mapped: false,
        ignore_shared: false,
        memory,
        door: port,
        listeners: Vec::new(),
        console_taken: false,
        options: options.clone(),
    }));

    if let Some(keys) = options.get("-fw_cfg").and_then(|o| key(o.first()?, "file")) {
        let machine = machine.clone();
        crate::guest::serve(door, keys.into(), Arc::new(move |event| happens(&machine, event)));
    }
    let mut sockets = Vec::new();
    for chardev in options.get("-chardev").cloned().unwrap_or_default() {
        if let (Some(path), true) = (key(&chardev, "path"), chardev.starts_with("socket,")) {
            let listener = UnixListener::bind(&path).unwrap_or_else(|e| die(&format!("{path}: {e}")));
            sockets.push((key(&chardev, "id").unwrap_or_default(), listener));
        }
    }
    let serial = options["-chardev"].iter().find_map(|c| key(c, "logfile")).unwrap_or_default();
    let boot =
        options["-chardev"].iter().find(|c| c.starts_with("file,")).and_then(|c| key(c, "path")).unwrap_or_default();
    for (id, listener) in sockets {
        let machine = machine.clone();
        thread::spawn(move || match id.as_str() {
            "qmp" | "qmp-diag" => serve_control(&machine, &listener),
            "agent" => serve_agent(&machine, &listener),
            _ => serve_console(&machine, &listener),
        });
    }
    guest(&machine, &serial, &boot)
}

fn key(text: &str, name: &str) -> Option<String> {
    text.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Counts while the machine runs; each count goes to the console.
fn guest(machine: &Shared, serial: &str, boot: &str) -> ! {
    let mut console = OpenOptions::new().append(true).create(true).open(serial).ok();
    let mut port = OpenOptions::new().append(true).create(true).open(boot).ok();
    loop {
        thread::sleep(Duration::from_millis(10));
        let mut machine = held(machine);
        if machine.run_state != "running" {
            continue;
        }
        machine.count += 1;
        if let Some(memory) = &machine.memory {
            let _ = memory.write_all_at(&machine.count.to_le_bytes(), COUNT);
        }
        if let Some(console) = &mut console {
            let _ = writeln!(console, "TICK {}", machine.count);
        }
        if let (1, Some(port)) = (machine.count, &mut port) {
            let _ = writeln!(port, r#"{{"step":"kernel","state":"done","at_ms":900}}"#);
        }
    }
}

/// One client at a time, as QEMU has it; the next one waits without a word. What is typed is echoed.
fn serve_console(machine: &Shared, listener: &UnixListener) {
    for mut stream in listener.incoming().flatten() {
        held(machine).console_taken = true;
        let mut typed = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut typed) {
            let _ = stream.write_all(&typed[..n]);
        }
        held(machine).console_taken = false;
    }
}

fn serve_agent(machine: &Shared, listener: &UnixListener) {
    for stream in listener.incoming().flatten() {
        let Ok(mut write) = stream.try_clone() else { continue };
        let mut read = BufReader::new(stream);
        let mut line = Vec::new();
        while read.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text: Vec<u8> = line.drain(..).filter(|b| *b != 0xff).collect();
            let Ok(request) = serde_json::from_slice::<Value>(&text) else { continue };
            let answer = match request["execute"].as_str().unwrap_or_default() {
                // What an earlier client has left unread comes first.
                "guest-sync-delimited" => {
                    let _ = write.write_all(b"{\"return\": 4}\n\xff");
                    json!({ "return": request["arguments"]["id"] })
                }
                "guest-ping" => json!({ "return": {} }),
                "guest-shutdown" => {
                    let script = held(machine).script.clone();
                    shut_down(machine, &script);
                    continue;
                }
                other => json!({ "error": { "class": "CommandNotFound", "desc": format!("no command {other}") } }),
            };
            let _ = writeln!(write, "{answer}");
        }
    }
}

/// One client at a time, as QEMU has it.
fn serve_control(machine: &Shared, listener: &UnixListener) {
    for stream in listener.incoming().flatten() {
        if held(machine).script.says("never-greet") {
            thread::sleep(Duration::from_secs(3600));
        }
        let Ok(mut write) = stream.try_clone() else { continue };
        let version = held(machine).script.value("version").unwrap_or("10.0.2").to_owned();
        let parts: Vec<u64> = version.split('.').map(|p| p.parse().unwrap_or(0)).collect();
        let at = |i: usize| parts.get(i).copied().unwrap_or(0);
        let greeting = json!({ "QMP": { "version": { "qemu": { "major": at(0), "minor": at(1), "micro": at(2) },
            "package": "stand-in" }, "capabilities": ["oob"] } });
        let _ = writeln!(write, "{greeting}");
        // An event that no version of ours knows must not end anything.
        let _ = writeln!(
            write,
            r#"{{"event":"FROM_THE_FUTURE","data":{{"x":1}},"timestamp":{{"seconds":1,"microseconds":2}}}}"#
        );
        if let Ok(listener) = stream.try_clone() {
            held(machine).listeners.push(listener);
        }
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Ok(request) = serde_json::from_str::<Value>(&line) else { continue };
            let name = request["execute"].as_str().unwrap_or_default().to_owned();
            let script = held(machine).script.clone();
            script.pass(&format!("before:{name}"));
            let mut answer = match command(machine, &name, &request["arguments"]) {
                Ok(value) => json!({ "return": value }),
                Err(words) => json!({ "error": { "class": "GenericError", "desc": words } }),
            };
            answer["id"] = request["id"].clone();
            script.pass(&format!("after:{name}"));
            say(&mut write, &answer);
            if name == "quit" && !held(machine).script.says("ignore-quit") {
                emit(machine, "SHUTDOWN", json!({ "guest": false, "reason": "host-qmp-quit" }));
                std::process::exit(0);
            }
        }
    }
}

/// One line in one piece: answers and events come from several threads.
fn say(stream: &mut UnixStream, message: &Value) -> bool {
    stream.write_all(format!("{message}\n").as_bytes()).is_ok()
}

fn emit(machine: &Shared, name: &str, data: Value) {
    let event = json!({ "event": name, "data": data, "timestamp": { "seconds": 1, "microseconds": 2 } });
    held(machine).listeners.retain_mut(|l| say(l, &event));
}

fn set_state(machine: &Shared, state: &str) {
    held(machine).run_state = state.into();
}

fn command(machine: &Shared, name: &str, arguments: &Value) -> Result<Value, String> {
    let script = held(machine).script.clone();
    match name {
        "qmp_capabilities" | "migrate_cancel" | "quit" => Ok(json!({})),
        "query-status" => {
            let state = held(machine).run_state.clone();
            Ok(json!({ "running": state == "running", "status": state }))
        }
        "query-name" => {
            let name = held(machine).options["-name"][0].split(',').next().unwrap_or_default().to_owned();
            Ok(json!({ "name": name }))
        }
        "query-chardev" => {
            let state = if held(machine).console_taken { "" } else { "disconnected:" };
            let filename = format!("{state}unix:console.sock,server=on");
            Ok(json!([{ "label": "console", "filename": filename, "frontend-open": true }]))
        }
        "human-monitor-command" => Ok(json!(format!(
            "Hub -1 (net):\n  TCP[HOST_FORWARD]  14       127.0.0.1 {}       10.0.2.15  7443     0     0\n",
            held(machine).door
        ))),
        "stop" => {
            set_state(machine, "paused");
            emit(machine, "STOP", json!({}));
            Ok(json!({}))
        }
        "cont" => go(machine, &script),
        "system_powerdown" => {
            if !script.says("no-button") {
                shut_down(machine, &script);
            }
            Ok(json!({}))
        }
        "block_resize" => {
            let disk = held(machine).disk();
            let mut content = fs::read(&disk).map_err(|e| e.to_string())?;
            content[24..32].copy_from_slice(&arguments["size"].as_u64().unwrap_or(0).to_be_bytes());
            fs::write(&disk, content).map_err(|e| e.to_string())?;
            Ok(json!({}))
        }
        "migrate-set-capabilities" => {
            for capability in arguments["capabilities"].as_array().cloned().unwrap_or_default() {
                if capability["capability"] == "mapped-ram" {
                    if script.says("no-mapped-ram") {
                        return Err("Parameter 'capability' does not accept value 'mapped-ram'".into());
                    }
                    held(machine).mapped = capability["state"] == true;
                }
                if capability["capability"] == "x-ignore-shared" {
                    if script.says("no-ignore-shared") {
                        return Err("Parameter 'capability' does not accept value 'x-ignore-shared'".into());
                    }
                    held(machine).ignore_shared = capability["state"] == true;
                }
            }
            Ok(json!({}))
        }
        "migrate-set-parameters" => Ok(json!({})),
        "query-migrate" => Ok(match &held(machine).migration {
            Some((status, words)) if words.is_empty() => json!({ "status": status }),
            Some((status, words)) => json!({ "status": status, "error-desc": words }),
            None => json!({}),
        }),
        "migrate" => save(machine, &script, arguments["uri"].as_str().unwrap_or_default()),
        "migrate-incoming" => load(machine, &script, arguments["uri"].as_str().unwrap_or_default()),
        // For tests: something happens to the machine.
        "standin-event" => {
            if let Some(state) = arguments["state"].as_str() {
                set_state(machine, state);
            }
            emit(machine, arguments["event"].as_str().unwrap_or_default(), arguments["data"].clone());
            Ok(json!({}))
        }
        other => Err(format!("The command {other} has not been found")),
    }
}

/// The guest has been asked for something that concerns its machine.
fn happens(machine: &Shared, event: Happening) -> bool {
    let script = held(machine).script.clone();
    match event {
        Happening::Knock => return held(machine).run_state == "running",
        Happening::Call(path) => script.pass(&format!("before:{path}")),
        Happening::ShutDown => shut_down(machine, &script),
    }
    true
}

fn shut_down(machine: &Shared, script: &Script) {
    if script.says("ignore-power") {
        return;
    }
    let (machine, script) = (machine.clone(), script.clone());
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        script.pass("before:poweroff");
        emit(&machine, "SHUTDOWN", json!({ "guest": true, "reason": "guest-shutdown" }));
        std::process::exit(0);
    });
}

fn go(machine: &Shared, script: &Script) -> Result<Value, String> {
    if script.says("die-at-cont") {
        die("killed when the guest was let go");
    }
    {
        let mut machine = held(machine);
        if machine.run_state == "inmigrate" {
            return Ok(json!({}));
        }
        machine.run_state = "running".into();
        let disk = machine.disk();
        // The disk goes on with the guest.
        OpenOptions::new().append(true).open(disk).and_then(|mut f| f.write_all(b".")).map_err(|e| e.to_string())?;
    }
    emit(machine, "RESUME", json!({}));
    Ok(json!({}))
}

fn save(machine: &Shared, script: &Script, uri: &str) -> Result<Value, String> {
    if held(machine).run_state == "postmigrate" {
        return Err("Can't migrate the vm that was paused due to previous migration".into());
    }
    let path = uri.strip_prefix("file:").ok_or("unknown migration protocol")?.to_owned();
    let (machine, script) = (machine.clone(), script.clone());
    held(&machine).migration = Some(("active".into(), String::new()));
    thread::spawn(move || {
        let content = held(&machine).said();
        thread::sleep(Duration::from_millis(20));
        if script.says("die-during-save") {
            let _ = fs::write(&path, &content[..content.len() / 2]);
            std::process::exit(1);
        }
        if script.says("save-never-ends") {
            return;
        }
        if let Some(words) = script.value("save-fails") {
            let _ = fs::write(&path, &content[..content.len() / 2]);
            held(&machine).migration = Some(("failed".into(), words.into()));
            emit(&machine, "MIGRATION", json!({ "status": "failed" }));
            return;
        }
        let written = File::create(&path).and_then(|mut f| f.write_all(&content));
        let mut m = held(&machine);
        m.migration = Some(match written {
            Ok(()) => ("completed".into(), String::new()),
            Err(e) => ("failed".into(), e.to_string()),
        });
        m.run_state = "postmigrate".into();
        drop(m);
        if script.says("die-after-save") {
            std::process::exit(1);
        }
        emit(&machine, "MIGRATION", json!({ "status": "completed" }));
    });
    Ok(json!({}))
}

fn load(machine: &Shared, script: &Script, uri: &str) -> Result<Value, String> {
    let path = uri.strip_prefix("file:").ok_or("unknown migration protocol")?.to_owned();
    if let Some(words) = script.value("load-fails") {
        die(&format!("load of migration failed: {words}"));
    }
    let content = fs::read(&path).map_err(|e| e.to_string())?;
    let saved: Value = serde_json::from_slice(&content).unwrap_or_else(|_| die("Not a migration stream"));
    {
        let mut m = held(machine);
        let own: Value = serde_json::from_slice(&m.said()).unwrap_or_default();
        if ["hardware", "mapped", "ignore-shared"].iter().any(|k| own[k] != saved[k]) {
            die("load of migration failed: Invalid argument");
        }
        let mut count = saved["count"].as_u64().unwrap_or(0).to_le_bytes();
        if let Some(memory) = m.memory.as_ref().filter(|_| m.ignore_shared) {
            memory.read_exact_at(&mut count, COUNT).map_err(|e| e.to_string())?;
        }
        m.count = u64::from_le_bytes(count);
        m.run_state = "paused".into();
        m.migration = Some(("completed".into(), String::new()));
    }
    emit(machine, "MIGRATION", json!({ "status": "completed" }));
    Ok(json!({}))
}

impl Machine {
    fn disk(&self) -> String {
        let of_data = self.options["-blockdev"].iter().find_map(|b| {
            let value: Value = serde_json::from_str(b).ok()?;
            (value["node-name"] == "data").then(|| value["file"]["filename"].as_str().unwrap_or_default().to_owned())
        });
        of_data.unwrap_or_default()
    }

    /// What is written when it is saved: what the machine is made of, how it is written, and the count, unless that is in
    /// a memory which is left out.
    fn said(&self) -> Vec<u8> {
        let hardware: Vec<_> =
            ["-machine", "-m", "-smp", "-cpu", "-device"].iter().map(|f| &self.options[*f]).collect();
        let left_out = self.ignore_shared && self.memory.is_some();
        json!({
            "count": if left_out { 0 } else { self.count }, "hardware": hardware, "mapped": self.mapped,
            "ignore-shared": self.ignore_shared,
        })
        .to_string()
        .into_bytes()
    }
}
