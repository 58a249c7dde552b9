//! Two engines, one at each end of a wire that cuts its bytes anywhere.
//!
//! A task is polled only when it was woken, and so is whoever drives an end; at a standstill everything must be done.

use super::*;
use http::StatusCode;
use proptest::prelude::*;
use std::{cell::Cell, future::poll_fn, pin::Pin};

/// What one direction of the wire holds at most.
const WIRE: usize = 40_000;

/// A sequence that looks random, and is the same each time.
#[derive(Clone)]
pub struct Dice(Rc<Cell<u64>>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(Rc::new(Cell::new(seed | 1)))
    }

    pub fn below(&self, bound: usize) -> usize {
        let mut state = self.0.get();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        self.0.set(state);
        (state >> 16) as usize % bound.max(1)
    }
}

/// One end, and who drives it.
struct End {
    connection: Connection,
    bell: Arc<Bell>,
    /// What is on its way to it.
    wire: VecDeque<u8>,
    /// The wire to the other end was full.
    full: bool,
}

impl End {
    fn new(connection: Connection) -> Self {
        End { connection, bell: Bell::rung(), wire: VecDeque::new(), full: false }
    }
}

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Tasks and two ends.
pub struct World {
    ends: [End; 2],
    tasks: Vec<(Option<Task>, Arc<Bell>)>,
    dice: Dice,
    /// The most that is written at once.
    step: usize,
    serve: Box<dyn Fn(Incoming) -> Task>,
}

impl World {
    pub fn new(
        client: Config,
        server: Config,
        dice: Dice,
        step: usize,
        serve: impl Fn(Incoming) -> Task + 'static,
    ) -> Self {
        let ends = [End::new(Connection::client(client)), End::new(Connection::server(server))];
        World { ends, tasks: Vec::new(), dice, step, serve: Box::new(serve) }
    }

    pub fn client(&self) -> &Connection {
        &self.ends[0].connection
    }

    pub fn spawn(&mut self, task: Task) {
        self.tasks.push((Some(task), Bell::rung()));
    }

    pub fn pending(&self) -> usize {
        self.tasks.iter().filter(|(task, _)| task.is_some()).count()
    }

    /// Throws away a task with all that it holds.
    pub fn abort(&mut self, number: usize) {
        self.tasks[number].0 = None;
    }

    /// Runs until nothing moves, or `enough`.
    pub fn run(&mut self, mut enough: impl FnMut() -> bool) {
        while !enough() {
            let mut moved = false;
            let first = self.dice.below(self.tasks.len());
            for at in 0..self.tasks.len() {
                let at = (first + at) % self.tasks.len();
                let (task, bell) = &mut self.tasks[at];
                if let Some(running) = task
                    && bell.take()
                {
                    moved = true;
                    let waker = Waker::from(bell.clone());
                    if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                        *task = None;
                    }
                }
                if self.dice.below(4) == 0 {
                    let end = self.dice.below(2);
                    moved |= self.drive(end);
                }
            }
            for end in 0..2 {
                moved |= self.drive(end);
            }
            if !moved {
                return;
            }
        }
    }

    /// Moves bytes, if there is a reason to.
    fn drive(&mut self, number: usize) -> bool {
        let (step, dice) = (1 + self.dice.below(self.step), self.dice.clone());
        let [first, second] = &mut self.ends;
        let (end, other) = if number == 0 { (first, second) } else { (second, first) };
        let drained = end.full && other.wire.len() < WIRE;
        let came = !end.wire.is_empty() && end.connection.wants_input();
        if !(end.bell.take() || drained || came) {
            return false;
        }
        end.connection.watch(&Waker::from(end.bell.clone()));
        if came {
            let step = (1 + dice.below(self.step)).min(end.wire.len());
            let bytes: Vec<u8> = end.wire.drain(..step).collect();
            end.connection.receive(&bytes);
            while let Some(incoming) = end.connection.accept() {
                let task = (self.serve)(incoming);
                self.tasks.push((Some(task), Bell::rung()));
            }
        }
        let waits = end.connection.0.borrow().output.len();
        assert!(waits < HIGH_WATER + (96 << 10), "{waits} bytes wait");
        let room = step.min(WIRE.saturating_sub(other.wire.len()));
        other.wire.extend(written(&end.connection, room));
        end.full = end.connection.has_output();
        true
    }

    /// Nothing is left over, at either end, and all windows are whole.
    fn assert_clean(&self) {
        for (end, other) in [(&self.ends[0], &self.ends[1]), (&self.ends[1], &self.ends[0])] {
            assert_eq!(end.connection.ended(), None);
            assert!(end.wire.is_empty() && !end.connection.has_output());
            end.connection.assert_empty();
            end.connection.assert_window_is_whole();
            let (receiver, sender) = (end.connection.0.borrow(), other.connection.0.borrow());
            assert_eq!(receiver.receive_window, sender.send_window, "both know the same");
        }
    }
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Whole,
    /// Reset after so many bytes.
    Reset(usize),
    /// Both handles are dropped after so many bytes.
    Dropped(usize),
    /// What comes is not wanted.
    Deaf,
    /// What is sent ends early, without saying so.
    Mute(usize),
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    up: usize,
    down: usize,
    piece: usize,
    trailers: bool,
    interim: u8,
    client: Fate,
    server: Fate,
    /// When the client's task is thrown away, if it is.
    aborted: Option<usize>,
}

fn byte(at: usize) -> u8 {
    (at % 251) as u8
}

/// Sends `length` bytes; `None`: the stream ended, or `stops` was reached.
async fn send(
    sending: &mut Sending,
    length: usize,
    piece: usize,
    trailers: bool,
    stops: usize,
) -> Option<()> {
    let mut sent = 0;
    while sent < length {
        if sent >= stops {
            return None;
        }
        let room = poll_fn(|cx| sending.poll_room(cx)).await.ok()?;
        assert!(room > 0 && room <= DATA_WATER);
        let step = room.min(piece).min(length - sent);
        let data: Vec<u8> = (sent..sent + step).map(byte).collect();
        sent += step;
        sending.data(data.into(), !trailers && sent == length).ok()?;
    }
    match (trailers, length) {
        (false, 0) => sending.data(Bytes::new(), true).ok(),
        (false, _) => Some(()),
        (true, _) => {
            let mut fields = HeaderMap::new();
            fields.insert("x-sum", length.to_string().parse().unwrap());
            sending.trailers(&fields).ok()
        }
    }
}

/// Takes a message; how long it was, if it came whole.
async fn take(receiving: &mut Receiving, stops: usize) -> Option<usize> {
    let mut taken = 0;
    loop {
        if taken >= stops {
            return None;
        }
        match poll_fn(|cx| receiving.poll_data(cx)).await {
            None => break,
            Some(data) => {
                for got in data.ok()? {
                    assert_eq!(got, byte(taken));
                    taken += 1;
                }
            }
        }
    }
    if let Some(trailers) = receiving.take_trailers() {
        assert_eq!(trailers["x-sum"].to_str().unwrap(), taken.to_string());
    }
    assert!(receiving.is_end());
    Some(taken)
}

async fn ask(sending: Sending, receiving: Receiving, plan: Plan, whole: Rc<Cell<u32>>) {
    let (mut sending, mut receiving) = (sending, receiving);
    let stops = match plan.client {
        Fate::Reset(after) | Fate::Dropped(after) | Fate::Mute(after) => after,
        Fate::Whole | Fate::Deaf => usize::MAX,
    };
    if plan.client == Fate::Deaf {
        drop(receiving);
        send(&mut sending, plan.up, plan.piece, plan.trailers, stops).await;
        return;
    }
    let answered = async {
        let mut interim = 0;
        loop {
            let head = poll_fn(|cx| receiving.poll_head(cx)).await.ok()?;
            if head.status == StatusCode::OK {
                break;
            }
            interim += 1;
        }
        let taken = take(&mut receiving, stops).await?;
        Some((interim, taken))
    };
    let sent = send(&mut sending, plan.up, plan.piece, plan.trailers, stops);
    let (sent, got) = tokio::join!(sent, answered);
    match plan.client {
        Fate::Reset(_) => sending.reset(Code::CANCEL),
        Fate::Mute(_) => {
            drop(sending);
            let _ = poll_fn(|cx| Poll::Ready(receiving.poll_data(cx).is_ready())).await;
        }
        _ => {}
    }
    if plan.client == Fate::Whole && plan.server == Fate::Whole {
        assert_eq!((sent, got), (Some(()), Some((plan.interim, plan.down))), "{plan:?}");
        whole.set(whole.get() + 1);
    }
}

async fn serve(incoming: Incoming, plan: Plan) {
    let Incoming { mut sending, mut receiving, .. } = incoming;
    let stops = match plan.server {
        Fate::Reset(after) | Fate::Dropped(after) | Fate::Mute(after) => after,
        Fate::Whole | Fate::Deaf => usize::MAX,
    };
    for _ in 0..plan.interim {
        sending.interim().send(StatusCode::EARLY_HINTS, &Fields::new());
    }
    if sending.respond(StatusCode::OK, &Fields::new(), false).is_err() {
        return;
    }
    let sent = send(&mut sending, plan.down, plan.piece, plan.trailers, stops);
    if plan.server == Fate::Deaf {
        drop(receiving);
        sent.await;
        return;
    }
    let (_, taken) = tokio::join!(sent, take(&mut receiving, stops));
    match plan.server {
        Fate::Reset(_) => sending.reset(Code::INTERNAL_ERROR),
        Fate::Mute(_) => drop(sending),
        _ => {}
    }
    if plan.client == Fate::Whole && plan.server == Fate::Whole && plan.aborted.is_none() {
        assert_eq!(taken, Some(plan.up), "{plan:?}");
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    let bytes = || prop_oneof![Just(0_usize), 0_usize..30_000];
    prop_oneof![
        6 => Just(Fate::Whole),
        1 => bytes().prop_map(Fate::Reset),
        1 => bytes().prop_map(Fate::Dropped),
        1 => Just(Fate::Deaf),
        1 => bytes().prop_map(Fate::Mute),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let length = || prop_oneof![Just(0_usize), 0_usize..100, 0_usize..60_000];
    let shape = (length(), length(), prop_oneof![1_usize..400, Just(20_000)], any::<bool>(), 0_u8..3);
    (shape, fate(), fate(), proptest::option::weighted(0.1, 0_usize..30)).prop_map(
        |((up, down, piece, trailers, interim), client, server, aborted)| {
            let piece = piece.max(up.max(down) / 100);
            Plan { up, down, piece, trailers, interim, client, server, aborted }
        },
    )
}

fn window() -> impl Strategy<Value = u32> {
    prop_oneof![Just(1_000_u32), Just(16_384), Just(65_535), Just(300_000)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn many_streams(
        plans in proptest::collection::vec(plan(), 1..24),
        windows in (window(), window(), window(), window()),
        step in prop_oneof![1_usize..200, Just(5_000), Just(100_000)],
        seed: u64,
    ) {
        let of = |stream_window, connection_window| Config { stream_window, connection_window, ..config() };
        let (client, server) = (of(windows.0, windows.1), of(windows.2, windows.3));
        let step = step.max(plans.iter().map(|plan| plan.up + plan.down).sum::<usize>() / 2_000);
        let known = plans.clone();
        let mut world = World::new(client, server, Dice::new(seed), step, move |incoming| {
            let plan = known[incoming.fields.headers["x-plan"].to_str().unwrap().parse::<usize>().unwrap()];
            Box::pin(serve(incoming, plan))
        });
        let whole = Rc::new(Cell::new(0));
        let opener = world.client().opener();
        for (number, plan) in plans.iter().enumerate() {
            let mut headers = Fields::new();
            headers.insert(HeaderName::from_static("x-plan"), number.into());
            let (sending, receiving) = opener.open(request(&Method::POST, &headers), false).unwrap();
            world.spawn(Box::pin(ask(sending, receiving, *plan, whole.clone())));
        }
        for round in 0..30 {
            let mut turns = 0;
            world.run(|| { turns += 1; turns > 4 });
            for (number, plan) in plans.iter().enumerate() {
                if plan.aborted == Some(round) {
                    world.abort(number);
                }
            }
        }
        world.run(|| false);
        prop_assert_eq!(world.pending(), 0, "tasks that nobody wakes");
        let awaited = |plan: &&Plan| {
            plan.client == Fate::Whole && plan.server == Fate::Whole && plan.aborted.is_none()
        };
        prop_assert!(whole.get() as usize >= plans.iter().filter(awaited).count());
        world.assert_clean();
        drop(opener);
        prop_assert!(world.client().is_done());
    }
}
