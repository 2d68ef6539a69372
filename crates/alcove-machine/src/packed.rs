//! Packing a saved machine: what its memory and its devices' file hold, compressed by all processors at once.
//!
//! A machine's memory shrinks to a third, which saves the disk's time as well as its space: both a suspend and a resume
//! wait for the disk longer than for the processors. Every chunk has a checksum, so that a state that was damaged
//! anywhere is refused before the hypervisor sees it. What is zero is left out.
//!
//! The file: [`MAGIC`]; the chunks, in the order in which they were done; the index; and a tail that says where the
//! index is. Numbers are little-endian.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
};

use rustix::fs::SeekFrom;

/// Begins every packed file; the digit is the format's version.
const MAGIC: &[u8; 8] = b"ALCVMEM2";
/// As quick as LZ4, and a sixth smaller: 986 MB of a machine that has just booted become 307 MB (LZ4 366 MB; level 1
/// 276 MB, in a fifth more time).
const LEVEL: i32 = -1;
/// Bytes of memory in a chunk, at most.
const CHUNK: u64 = 1 << 20;
/// Length of the tail: where the index begins, its length, its checksum, [`MAGIC`].
const TAIL: u64 = 8 + 8 + 4 + 8;
/// Places from here on are in the devices' file, those before in the memory.
const DEVICES: u64 = 1 << 62;
/// What is zero is left out in pages of so many bytes.
const PAGE: usize = 4096;
const NOTHING: [u8; PAGE] = [0; PAGE];
/// An index larger than this is none of ours.
const LARGEST_INDEX: u64 = 1 << 30;
/// More threads gain nothing: the disk or the memory's own speed is the limit.
const THREADS: usize = 8;
/// The disk is told to write when so many bytes wait for it; it is looked at so often.
const AHEAD: u64 = 32 << 20;
const PACE: std::time::Duration = std::time::Duration::from_millis(20);

/// A stretch of the memory or the devices' file that holds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    at: u64,
    bytes: u64,
}

/// Pieces that are compressed together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    /// Where its compressed bytes lie, and how many they are.
    at: u64,
    packed: u32,
    /// CRC-32 of its compressed bytes.
    checksum: u32,
    pieces: Vec<Piece>,
}

impl Chunk {
    fn bytes(&self) -> u64 {
        self.pieces.iter().map(|p| p.bytes).sum()
    }
}

/// The two files of a machine, as one stretch of places.
#[derive(Clone, Copy)]
struct Files<'a> {
    memory: &'a File,
    devices: &'a File,
}

impl Files<'_> {
    fn place(&self, at: u64) -> (&File, u64) {
        if at < DEVICES { (self.memory, at) } else { (self.devices, at - DEVICES) }
    }

    fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        let (file, at) = self.place(at);
        file.read_exact_at(into, at)
    }

    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let (file, at) = self.place(at);
        file.write_all_at(bytes, at)
    }
}

/// Packs what `memory` and `devices` hold into the empty file `packed`. Blocks. The disk writes while the processors
/// pack; what was written last is not synced.
///
/// # Errors
/// What the file system says of any of the files.
pub(crate) fn pack(memory: &File, devices: &File, packed: &File) -> io::Result<()> {
    let lengths = [memory.metadata()?.len(), devices.metadata()?.len()];
    let mut all = pieces(memory, lengths[0])?;
    all.extend(pieces(devices, lengths[1])?.into_iter().map(|p| Piece { at: p.at + DEVICES, ..p }));
    let groups = group(&all);
    let files = Files { memory, devices };
    packed.write_all_at(MAGIC, 0)?;
    let end = AtomicU64::new(MAGIC.len() as u64);
    let done: Mutex<Vec<Chunk>> = Mutex::new(Vec::with_capacity(groups.len()));
    let packing = AtomicBool::new(true);
    thread::scope(|scope| {
        // The system would begin to write when much has come together, or when it is told to sync.
        let writing = scope.spawn(|| {
            let mut written = 0;
            while packing.load(Ordering::Relaxed) {
                let now = end.load(Ordering::Relaxed);
                if now - written >= AHEAD {
                    // The system tells only once that something could not be written: who hears it must pass it on.
                    packed.sync_data()?;
                    written = now;
                } else {
                    thread::park_timeout(PACE);
                }
            }
            Ok(())
        });
        let result = pack_chunks(files, packed, &groups, &end, &done);
        packing.store(false, Ordering::Relaxed);
        let written = writing.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended unexpectedly")));
        result.and(written)
    })?;
    let index = write_index(&done.into_inner().unwrap_or_else(PoisonError::into_inner), lengths);
    let at = end.into_inner();
    packed.write_all_at(&index, at)?;
    let mut tail = Vec::with_capacity(size(TAIL)?);
    tail.extend(at.to_le_bytes());
    tail.extend((index.len() as u64).to_le_bytes());
    tail.extend(crc32fast::hash(&index).to_le_bytes());
    tail.extend(MAGIC);
    packed.write_all_at(&tail, at + index.len() as u64)
}

fn pack_chunks(
    files: Files<'_>,
    packed: &File,
    groups: &[Vec<Piece>],
    end: &AtomicU64,
    done: &Mutex<Vec<Chunk>>,
) -> io::Result<()> {
    each(groups.len(), |i, room: &mut Room| {
        let bytes: u64 = groups[i].iter().map(|p| p.bytes).sum();
        room.plain.resize(size(bytes)?, 0);
        let mut rest = &mut room.plain[..];
        for piece in &groups[i] {
            let (this, next) = rest.split_at_mut(size(piece.bytes)?);
            files.read(this, piece.at)?;
            rest = next;
        }
        let pieces = without_zeros(&groups[i], &mut room.plain)?;
        if pieces.is_empty() {
            return Ok(());
        }
        room.packed.clear();
        room.packed.reserve(zstd::zstd_safe::compress_bound(room.plain.len()));
        let length = room.compressor.compress_to_buffer(&room.plain, &mut room.packed)?;
        let at = end.fetch_add(length as u64, Ordering::Relaxed);
        packed.write_all_at(&room.packed, at)?;
        let chunk = Chunk {
            at,
            packed: u32::try_from(length).map_err(io::Error::other)?,
            checksum: crc32fast::hash(&room.packed),
            pieces,
        };
        done.lock().unwrap_or_else(PoisonError::into_inner).push(chunk);
        Ok(())
    })
}

/// Takes the pages that are zero out of `plain`, which holds `pieces` one after the other; says what is left.
fn without_zeros(pieces: &[Piece], plain: &mut Vec<u8>) -> io::Result<Vec<Piece>> {
    let mut left: Vec<Piece> = Vec::new();
    let (mut from, mut to) = (0, 0);
    for piece in pieces {
        let mut at = piece.at;
        let until = from + size(piece.bytes)?;
        while from < until {
            let bytes = PAGE.min(until - from);
            if plain[from..from + bytes] != NOTHING[..bytes] {
                plain.copy_within(from..from + bytes, to);
                to += bytes;
                match left.last_mut() {
                    Some(last) if last.at + last.bytes == at => last.bytes += bytes as u64,
                    _ => left.push(Piece { at, bytes: bytes as u64 }),
                }
            }
            from += bytes;
            at += bytes as u64;
        }
    }
    plain.truncate(to);
    Ok(left)
}

/// A packed file whose index has been read and found whole.
#[derive(Debug)]
pub(crate) struct Packed {
    file: File,
    /// Of memory and devices.
    lengths: [u64; 2],
    chunks: Vec<Chunk>,
}

impl Packed {
    /// Reads the index.
    ///
    /// # Errors
    /// `InvalidData` when the file is damaged, else what the file system says.
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let whole = file.metadata()?.len();
        let from = whole.checked_sub(TAIL).ok_or_else(|| damaged("it is too short"))?;
        let mut tail = [0; TAIL as usize];
        file.read_exact_at(&mut tail, from)?;
        let mut tail = Reader(&tail);
        let (at, bytes, checksum) = (tail.u64()?, tail.u64()?, tail.u32()?);
        if tail.0 != MAGIC {
            return Err(damaged("its end is missing"));
        }
        if bytes > LARGEST_INDEX || at.checked_add(bytes) != Some(from) {
            return Err(damaged("its index is not where it should be"));
        }
        let mut index = vec![0; size(bytes)?];
        file.read_exact_at(&mut index, at)?;
        if crc32fast::hash(&index) != checksum {
            return Err(damaged("its index is not what was written"));
        }
        let (lengths, chunks) = read_index(&index, at)?;
        Ok(Self { file, lengths, chunks })
    }

    /// Writes the memory into `memory`, which has its length and is empty, and the devices into the empty file
    /// `devices`. Blocks.
    ///
    /// # Errors
    /// `InvalidData` when a chunk is damaged or the lengths differ, else what the file system says.
    pub(crate) fn unpack(&self, memory: &File, devices: &File) -> io::Result<()> {
        if memory.metadata()?.len() != self.lengths[0] {
            return Err(damaged("it is the memory of a machine of another size"));
        }
        devices.set_len(self.lengths[1])?;
        let files = Files { memory, devices };
        each(self.chunks.len(), |i, room: &mut Room| {
            let chunk = &self.chunks[i];
            room.packed.resize(chunk.packed as usize, 0);
            self.file.read_exact_at(&mut room.packed, chunk.at)?;
            if crc32fast::hash(&room.packed) != chunk.checksum {
                return Err(damaged("a part of it is not what was written"));
            }
            let bytes = size(chunk.bytes())?;
            room.plain.clear();
            room.plain.reserve(bytes);
            room.decompressor
                .decompress_to_buffer(&room.packed, &mut room.plain)
                .map_err(|_| damaged("a part of it can't be unpacked"))?;
            if room.plain.len() != bytes {
                return Err(damaged("a part of it has another length"));
            }
            let mut rest = &room.plain[..];
            for piece in &chunk.pieces {
                let (this, next) = rest.split_at(size(piece.bytes)?);
                files.write(this, piece.at)?;
                rest = next;
            }
            Ok(())
        })
    }
}

/// What one thread works with.
struct Room {
    plain: Vec<u8>,
    packed: Vec<u8>,
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
}

impl Room {
    fn new() -> io::Result<Self> {
        Ok(Self {
            plain: Vec::new(),
            packed: Vec::new(),
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            decompressor: zstd::bulk::Decompressor::new()?,
        })
    }
}

/// Does `work` for each number below `count`, by several threads. Ends early at the first error.
fn each(count: usize, work: impl Fn(usize, &mut Room) -> io::Result<()> + Sync) -> io::Result<()> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS).min(count.max(1));
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let run = || {
        let mut room = Room::new()?;
        while !failed.load(Ordering::Relaxed) {
            let i = next.fetch_add(1, Ordering::Relaxed);
            if i >= count {
                break;
            }
            if let Err(e) = work(i, &mut room) {
                failed.store(true, Ordering::Relaxed);
                return Err(e);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut result = run();
        for other in others {
            let ended = other.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended unexpectedly")));
            result = result.and(ended);
        }
        result
    })
}

/// The stretches of a sparse file that hold something.
fn pieces(file: &File, length: u64) -> io::Result<Vec<Piece>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < length {
        let from = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(from) => from,
            // Nothing but a hole is left.
            Err(rustix::io::Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        let to = rustix::fs::seek(file, SeekFrom::Hole(from))?.min(length);
        found.push(Piece { at: from, bytes: to - from });
        at = to;
    }
    Ok(found)
}

/// Pieces in groups of one chunk each; long ones are cut.
fn group(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let mut groups: Vec<Vec<Piece>> = Vec::new();
    let mut room = 0;
    for piece in pieces {
        let Piece { mut at, mut bytes } = *piece;
        while bytes > 0 {
            if room == 0 {
                groups.push(Vec::new());
                room = CHUNK;
            }
            let taken = bytes.min(room);
            if let Some(group) = groups.last_mut() {
                group.push(Piece { at, bytes: taken });
            }
            at += taken;
            bytes -= taken;
            room -= taken;
        }
    }
    groups
}

/// The lengths of memory and devices, then the chunks.
fn write_index(chunks: &[Chunk], lengths: [u64; 2]) -> Vec<u8> {
    let mut out: Vec<u8> = lengths.iter().flat_map(|l| l.to_le_bytes()).collect();
    for chunk in chunks {
        out.extend(chunk.at.to_le_bytes());
        out.extend(chunk.packed.to_le_bytes());
        out.extend(chunk.checksum.to_le_bytes());
        out.extend((chunk.pieces.len() as u64).to_le_bytes());
        for piece in &chunk.pieces {
            out.extend(piece.at.to_le_bytes());
            out.extend(piece.bytes.to_le_bytes());
        }
    }
    out
}

/// Reads an index whose chunks must lie before `end`, and whose pieces within its lengths.
fn read_index(index: &[u8], end: u64) -> io::Result<([u64; 2], Vec<Chunk>)> {
    let wrong = || damaged("its index makes no sense");
    let mut rest = Reader(index);
    let lengths = [rest.u64()?, rest.u64()?];
    let mut chunks = Vec::new();
    while !rest.0.is_empty() {
        let (at, packed, checksum, count) = (rest.u64()?, rest.u32()?, rest.u32()?, rest.u64()?);
        if at.checked_add(u64::from(packed)).is_none_or(|to| to > end) || count > CHUNK {
            return Err(wrong());
        }
        let mut chunk = Chunk { at, packed, checksum, pieces: Vec::new() };
        for _ in 0..count {
            let piece = Piece { at: rest.u64()?, bytes: rest.u64()? };
            let most = if piece.at < DEVICES { lengths[0] } else { DEVICES.saturating_add(lengths[1]) };
            if piece.bytes > CHUNK || piece.at.checked_add(piece.bytes).is_none_or(|to| to > most) {
                return Err(wrong());
            }
            chunk.pieces.push(piece);
        }
        if chunk.bytes() > CHUNK {
            return Err(wrong());
        }
        chunks.push(chunk);
    }
    Ok((lengths, chunks))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (this, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| damaged("its index is cut short"))?;
        self.0 = rest;
        Ok(*this)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(io::Error::other)
}

fn damaged(how: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, how)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sparse file of 64 MiB with some noise, some text and many holes.
    fn memory() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        file.write_all_at(&noise, 5 << 20).unwrap();
        for page in 0..200 {
            file.write_all_at(format!("page {page} ").repeat(400).as_bytes(), (20 << 20) + page * 16384).unwrap();
        }
        file
    }

    fn content(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// What QEMU would say of the devices.
    fn devices() -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&b"serial port, disk, card".repeat(5000), 0).unwrap();
        file
    }

    fn packed(memory: &File) -> File {
        let file = tempfile::tempfile().unwrap();
        pack(memory, &devices(), &file).unwrap();
        file
    }

    fn empty(length: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(length).unwrap();
        file
    }

    fn unpacked(file: File, length: u64) -> io::Result<(File, File)> {
        let (memory, devices) = (empty(length), empty(0));
        Packed::open(file)?.unpack(&memory, &devices)?;
        Ok((memory, devices))
    }

    #[test]
    fn what_is_packed_comes_out_again_and_takes_less() {
        let memory = memory();
        // A page that was written with zeros takes room, and is one that need not be kept.
        memory.write_all_at(&[0; 3 * PAGE], 40 << 20).unwrap();
        memory.write_all_at(b"between zeros", (50 << 20) + 5 * PAGE as u64).unwrap();
        let file = packed(&memory);
        assert!(file.metadata().unwrap().len() < 5 << 20);
        let (again, said) = unpacked(file, 64 << 20).unwrap();
        assert!(content(&memory) == content(&again));
        assert!(content(&devices()) == content(&said));
        let held = |file: &File| pieces(file, 64 << 20).unwrap().iter().map(|p| p.bytes).sum::<u64>();
        assert!(held(&again) < held(&memory), "holes stay holes, and zeros become some");
    }

    #[test]
    fn a_memory_without_anything_in_it_is_one_too() {
        let memory = empty(1 << 20);
        let (again, _) = unpacked(packed(&memory), 1 << 20).unwrap();
        assert!(content(&memory) == content(&again));
    }

    #[test]
    fn a_memory_of_another_size_is_refused() {
        let error = unpacked(packed(&memory()), 65 << 20).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn damage_anywhere_is_found() {
        let file = packed(&memory());
        let whole = content(&file);
        let mut found = 0;
        for at in (8..whole.len()).step_by(whole.len() / 97) {
            file.write_all_at(&[whole[at] ^ 0x40], at as u64).unwrap();
            let result = unpacked(file.try_clone().unwrap(), 64 << 20);
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::InvalidData, "at {at}");
            file.write_all_at(&[whole[at]], at as u64).unwrap();
            found += 1;
        }
        assert!(found > 90);
        for length in [0, 7, TAIL, whole.len() as u64 - 1] {
            file.set_len(length).unwrap();
            assert_eq!(Packed::open(file.try_clone().unwrap()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }

    #[test]
    fn an_index_that_points_elsewhere_is_refused() {
        for (at, bytes) in [(u64::MAX, 1), (0, CHUNK + 1), (100, 1), (DEVICES + 50, 1), (DEVICES - 1, 2)] {
            let chunk = Chunk { at: 8, packed: 1, checksum: 0, pieces: vec![Piece { at, bytes }] };
            assert!(read_index(&write_index(&[chunk], [100, 50]), 100).is_err());
        }
        let whole = Chunk { at: 8, packed: 1, checksum: 0, pieces: vec![Piece { at: DEVICES + 49, bytes: 1 }] };
        assert!(read_index(&write_index(&[whole], [100, 50]), 100).is_ok());
        let chunk = Chunk { at: u64::MAX, packed: 1, checksum: 0, pieces: Vec::new() };
        assert!(read_index(&write_index(&[chunk], [100, 50]), 100).is_err());
    }
}
