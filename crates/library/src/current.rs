//! What a handle stands for: the object of the callback that runs on this thread.
//!
//! A handle is the number of one call into a library, never used twice on a thread, with the thread's own number in its upper
//! bits. So a library that keeps one, or takes it to another thread, is refused, and touches nothing.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use transom_abi::{self as abi, Handle, Slice, Status};
use transom_api::headers::{HeaderMap, Headers};
use transom_api::listener::Socket;
use transom_api::selector::SelectorView;
use transom_api::stream::Stream;
use transom_api::{Connection, PrepareContext, Record, Resumer, Worker};

use crate::batches::Port;

/// What a library may act on during a call.
#[derive(Clone, Copy)]
enum Object {
    Nothing,
    Stream(*mut Stream<'static>),
    Worker(*mut Worker<'static>),
    Connection(*mut Connection<'static>),
    Socket(*mut Socket<'static>),
    Record(*const Logged<'static>),
    Choice(*const Choice<'static>),
    Codec(*mut Codec<'static>),
    Control(*const Control<'static>),
}

/// A record of an access log, and where what is written of it goes.
pub(crate) struct Logged<'a> {
    pub(crate) record: Record<'a>,
    /// Of a log that has its entries written elsewhere.
    pub(crate) port: Option<&'a Port>,
}

/// The hosts that a selector chooses from.
#[derive(Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) hosts: &'a dyn SelectorView,
}

/// A connection of a client.
pub(crate) struct Codec<'a> {
    /// What it is to say.
    pub(crate) headers: Option<(HeaderMap, Headers<'a>)>,
    /// Where it writes.
    pub(crate) out: Option<&'a mut Vec<u8>>,
    /// Whom it tells what it reads.
    pub(crate) told: Option<&'a mut dyn Told>,
    /// Why it fails.
    pub(crate) why: Option<String>,
}

/// Who hears of the messages that a codec has read.
pub(crate) trait Told {
    fn head(&mut self, head: &abi::MessageHead) -> Result<(), Status>;
    fn data(&mut self, data: &[u8]);
    fn end(&mut self);
}

/// The control side, while it prepares.
#[derive(Clone, Copy)]
pub(crate) struct Control<'a> {
    pub(crate) context: &'a PrepareContext,
    /// The label of metrics that names the use.
    pub(crate) label: &'static str,
    /// By which what is prepared can say that it has news.
    pub(crate) news: Option<&'a Resumer>,
}

/// Numbers of calls on one thread: as many as a thread makes in some thousand years.
const CALL_BITS: u32 = 48;

struct Current {
    handle: Cell<Handle>,
    object: Cell<Object>,
    /// The number of the last call; 0 before the first.
    last: Cell<Handle>,
    /// Whether anything is in `LENT`.
    lends: Cell<bool>,
}

// Known at compile time and without a destructor, so that reaching it costs no question whether it is there.
thread_local! {
    static CURRENT: Current = const {
        Current {
            handle: Cell::new(0),
            object: Cell::new(Object::Nothing),
            last: Cell::new(0),
            lends: Cell::new(false),
        }
    };
    /// Bytes that were made for the library during the call, and are lent to it until its end.
    static LENT: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

#[cold]
fn thread_number() -> u64 {
    static THREADS: AtomicU64 = AtomicU64::new(1);
    THREADS.fetch_add(1, Ordering::Relaxed)
}

/// A call under way: at its end, also when it unwinds, what was there before is there again.
struct Entered {
    outer: Handle,
    /// Of the outer call, if there is one. Else what is left in `CURRENT` stays there: no handle leads to it any more.
    object: Object,
}

impl Drop for Entered {
    #[inline]
    fn drop(&mut self) {
        CURRENT.with(|current| {
            current.handle.set(self.outer);
            if self.outer != 0 {
                current.object.set(self.object);
            } else if current.lends.get() {
                // What an outer call was lent stays.
                current.lends.set(false);
                take_back();
            }
        });
    }
}

#[cold]
fn take_back() {
    // At the end of a thread there is nothing left to take.
    let _ = LENT.try_with(|lent| lent.borrow_mut().clear());
}

#[inline]
fn enter(object: Object) -> (Handle, Entered) {
    CURRENT.with(|current| {
        let last = match current.last.get() {
            0 => thread_number() << CALL_BITS,
            last => last,
        };
        let handle = last.wrapping_add(1);
        current.last.set(handle);
        let outer = current.handle.replace(handle);
        let entered = Entered {
            outer,
            object: match outer {
                0 => Object::Nothing,
                _ => current.object.get(),
            },
        };
        current.object.set(object);
        (handle, entered)
    })
}

/// Calls a library with a handle of `stream`.
#[inline]
pub(crate) fn with_stream<R>(stream: &mut Stream<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let stream: *mut Stream<'_> = stream;
    // The lifetime is given up here and taken up in `on_stream`, which only runs inside of this call.
    let (handle, _entered) = enter(Object::Stream(stream.cast()));
    call(handle)
}

/// Calls a library with a handle of `worker`.
pub(crate) fn with_worker<R>(worker: &mut Worker<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let worker: *mut Worker<'_> = worker;
    let (handle, _entered) = enter(Object::Worker(worker.cast()));
    call(handle)
}

/// Calls a library with a handle of `connection`.
pub(crate) fn with_connection<R>(
    connection: &mut Connection<'_>,
    call: impl FnOnce(Handle) -> R,
) -> R {
    let connection: *mut Connection<'_> = connection;
    let (handle, _entered) = enter(Object::Connection(connection.cast()));
    call(handle)
}

/// Calls a library with a handle of `socket`.
pub(crate) fn with_socket<R>(socket: &mut Socket<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let socket: *mut Socket<'_> = socket;
    let (handle, _entered) = enter(Object::Socket(socket.cast()));
    call(handle)
}

/// Calls a library with a handle of a record.
pub(crate) fn with_record<R>(logged: &Logged<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let logged: *const Logged<'_> = logged;
    let (handle, _entered) = enter(Object::Record(logged.cast()));
    call(handle)
}

/// Calls a library with a handle of a choice.
pub(crate) fn with_choice<R>(choice: &Choice<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let choice: *const Choice<'_> = choice;
    let (handle, _entered) = enter(Object::Choice(choice.cast()));
    call(handle)
}

/// Calls a library with a handle of a codec.
pub(crate) fn with_codec<R>(codec: &mut Codec<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let codec: *mut Codec<'_> = codec;
    let (handle, _entered) = enter(Object::Codec(codec.cast()));
    call(handle)
}

/// Calls a library with a handle of the control side.
pub(crate) fn with_control<R>(control: &Control<'_>, call: impl FnOnce(Handle) -> R) -> R {
    let control: *const Control<'_> = control;
    let (handle, _entered) = enter(Object::Control(control.cast()));
    call(handle)
}

/// What a handle is at the moment.
pub(crate) enum Found<'a> {
    Stream(&'a mut Stream<'static>),
    Worker(&'a mut Worker<'static>),
    Connection(&'a mut Connection<'static>),
    Socket(&'a mut Socket<'static>),
    Record(&'a Logged<'static>),
    Choice(&'a Choice<'static>),
    Codec(&'a mut Codec<'static>),
    Control(&'a Control<'static>),
}

/// Does something with what `handle` stands for. A panic of the proxy's own does not cross into the library.
pub(crate) fn on<T>(
    handle: Handle,
    act: impl FnOnce(Found<'_>) -> Result<T, Status>,
) -> Result<T, Status> {
    let object = CURRENT.with(|current| {
        if handle != 0 && current.handle.get() == handle {
            // Nobody else may act on it meanwhile: what acts calls no library.
            current.object.replace(Object::Nothing)
        } else {
            Object::Nothing
        }
    });
    let found = match object {
        Object::Nothing => return Err(abi::GONE),
        // SAFETY: The pointer was made from a unique borrow by a function above that is still running on this thread, below
        // us, and waits for the library to return. It was taken out of `CURRENT`, so that this is its only use.
        Object::Stream(stream) => Found::Stream(unsafe { &mut *stream }),
        // SAFETY: As above.
        Object::Worker(worker) => Found::Worker(unsafe { &mut *worker }),
        // SAFETY: As above.
        Object::Connection(connection) => Found::Connection(unsafe { &mut *connection }),
        // SAFETY: As above.
        Object::Socket(socket) => Found::Socket(unsafe { &mut *socket }),
        // SAFETY: As above, from a shared borrow.
        Object::Record(logged) => Found::Record(unsafe { &*logged }),
        // SAFETY: As above, from a shared borrow.
        Object::Choice(choice) => Found::Choice(unsafe { &*choice }),
        // SAFETY: As above.
        Object::Codec(codec) => Found::Codec(unsafe { &mut *codec }),
        // SAFETY: As above, from a shared borrow.
        Object::Control(control) => Found::Control(unsafe { &*control }),
    };
    let done = catch_unwind(AssertUnwindSafe(|| act(found)));
    CURRENT.with(|current| current.object.set(object));
    done.unwrap_or(Err(abi::UNSUPPORTED))
}

/// The same for functions that only streams have.
pub(crate) fn on_stream<T>(
    handle: Handle,
    act: impl FnOnce(&mut Stream<'static>) -> Result<T, Status>,
) -> Result<T, Status> {
    on(handle, |found| match found {
        Found::Stream(stream) => act(stream),
        _ => Err(abi::UNSUPPORTED),
    })
}

/// The same for functions that only sockets have.
pub(crate) fn on_socket<T>(
    handle: Handle,
    act: impl FnOnce(&mut Socket<'static>) -> Result<T, Status>,
) -> Result<T, Status> {
    on(handle, |found| match found {
        Found::Socket(socket) => act(socket),
        _ => Err(abi::UNSUPPORTED),
    })
}

/// The same for functions that only connections have.
pub(crate) fn on_connection<T>(
    handle: Handle,
    act: impl FnOnce(&mut Connection<'static>) -> Result<T, Status>,
) -> Result<T, Status> {
    on(handle, |found| match found {
        Found::Connection(connection) => act(connection),
        _ => Err(abi::UNSUPPORTED),
    })
}

/// Lends bytes to the library: those of the object as they are, others until the call's end.
pub(crate) fn lend(bytes: Cow<'_, [u8]>) -> Slice {
    match bytes {
        Cow::Borrowed(bytes) => slice_of(bytes),
        Cow::Owned(bytes) => {
            let bytes = bytes.into_boxed_slice();
            // The bytes stay where they are when their box is moved.
            let slice = slice_of(&bytes);
            match LENT.try_with(|lent| lent.borrow_mut().push(bytes)) {
                Ok(()) => {
                    CURRENT.with(|current| current.lends.set(true));
                    slice
                }
                // The thread ends, and what it has lent is gone.
                Err(_) => slice_of(&[]),
            }
        }
    }
}

/// The bytes as C sees them.
pub(crate) fn slice_of(bytes: &[u8]) -> Slice {
    Slice {
        bytes: bytes.as_ptr(),
        len: bytes.len(),
    }
}

/// The bytes of a slice that the other side lends.
///
/// # Safety
///
/// `slice` must be what the border promises: that many bytes, unchanged for as long as `'a`.
pub(crate) unsafe fn bytes<'a>(slice: Slice) -> &'a [u8] {
    if slice.bytes.is_null() || slice.len == 0 || slice.len > isize::MAX as usize {
        return &[];
    }
    // SAFETY: Promised by the caller; not null and not too long, as was looked.
    unsafe { std::slice::from_raw_parts(slice.bytes, slice.len) }
}

/// The text of a slice that the other side lends.
///
/// # Safety
///
/// As of [`bytes`].
pub(crate) unsafe fn text<'a>(slice: Slice) -> Result<&'a str, Status> {
    // SAFETY: Promised by the caller.
    std::str::from_utf8(unsafe { bytes(slice) }).map_err(|_| abi::BAD_ARGUMENT)
}

/// As many things at `first` as `count` says.
///
/// # Safety
///
/// There must be so many, unchanged for as long as `'a`.
pub(crate) unsafe fn items<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 || count > (isize::MAX as usize) / size_of::<T>().max(1) {
        return &[];
    }
    // SAFETY: Promised by the caller; not null and not too long, as was looked.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// What a struct of the library's says, whose first field is its size. None for null, and for one that is smaller than the
/// first version of its kind.
///
/// # Safety
///
/// `from` must be null, or begin with a size and be so long, unchanged for as long as `'a`.
pub(crate) unsafe fn sized<'a, T>(from: *const T) -> Option<&'a T> {
    if from.is_null() {
        return None;
    }
    // SAFETY: Promised by the caller: a struct begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    // SAFETY: Promised by the caller; it is as large as this version's, or larger.
    (size >= size_of::<T>()).then(|| unsafe { &*from })
}
