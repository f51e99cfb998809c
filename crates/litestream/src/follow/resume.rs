//! Where to go on: the state that the database is in.
//!
//! Promise: a position is only given if the database's change counter stands for it, or its content was compared with the
//! replica's page by page.

use std::io;

use litestream_replica::SharedReplica;
use litestream_replica::env::Kind;
use ltx::Txid;

use super::Place;
use super::apply::{self, Header};
use super::counter;
use super::error::FollowError;
use super::journal;
use super::next::newest;
use super::position::{self, Saved};
use super::verify;
use crate::restore::{RestoreError, on_thread};
use crate::sqlite::{Exclusive, roll_back};

/// A state of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) txid: Txid,
    /// The change counter that the database has in that state; none if it is empty.
    pub(super) counter: Option<u32>,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No database.
    Nothing,
    /// One in this state.
    At(Position),
    /// Somebody writes to it or rolls it back right now.
    Busy,
}

/// A look at the database alone.
enum Look {
    Empty,
    Header(Header),
    Busy,
}

/// Finds out what is there, and rolls back what was interrupted.
pub(super) async fn find(place: &Place, replica: &SharedReplica) -> Result<Found, FollowError> {
    let at = place.clone();
    let looked = on_thread(&place.env, move || Ok(look(&at))).await?;
    let counter = match looked? {
        Look::Empty => return Ok(Found::Nothing),
        Look::Busy => return Ok(Found::Busy),
        Look::Header(header) => header.counter,
    };
    let found = |txid| {
        Found::At(Position {
            txid,
            counter: Some(counter),
        })
    };
    let disk = &*place.env.disk;
    let saved = position::read(disk, &place.output)?;
    if let Saved::Txid(saved) = saved
        && counter::of(saved) == counter
    {
        return Ok(found(saved));
    }
    let marked = counter::txid(counter, newest(replica).await?);
    match (saved, marked) {
        // Interrupted after the database was durable and before its position was.
        (Saved::Txid(saved), Some(marked)) if marked > saved => {
            position::write(disk, &place.output, marked)?;
            Ok(found(marked))
        }
        // Followed by another program until now.
        (Saved::Txid(saved), _) => {
            if verify::is_state_at(place, replica, saved).await? {
                return Ok(found(saved));
            }
            Err(FollowError::Changed {
                output: place.output.clone(),
                saved,
            })
        }
        (Saved::Missing | Saved::Bad(_), Some(marked))
            if verify::is_state_at(place, replica, marked).await? =>
        {
            tracing::info!(txid = %marked, "position found by comparing the database with the replica");
            position::write(disk, &place.output, marked)?;
            Ok(found(marked))
        }
        (Saved::Missing, _) => Err(FollowError::NoPosition(place.output.clone())),
        (Saved::Bad(content), _) => Err(FollowError::BadPosition {
            path: position::path(&place.output),
            content,
        }),
    }
}

fn look(place: &Place) -> Result<Look, FollowError> {
    let disk = &*place.env.disk;
    match disk.metadata(&place.real).map(|m| m.kind) {
        Ok(Kind::File) => {}
        Ok(Kind::Dir) => return Err(RestoreError::OutputIsDirectory(place.output.clone()).into()),
        Ok(_) => return Err(RestoreError::OutputNotRegular(place.output.clone()).into()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Look::Empty),
        Err(e) => return Err(FollowError::io("look at", &place.real)(e)),
    }
    if journal::is_hot(disk, &place.journal())? && !roll_back(&place.real, place.vfs())? {
        return Ok(Look::Busy);
    }
    let mut file = Exclusive::open(&place.real, place.vfs())?;
    if !file.try_shared()? || journal::is_hot(disk, &place.journal())? {
        return Ok(Look::Busy);
    }
    let header = apply::header(place, &file)?;
    file.unlock()?;
    Ok(header.map_or(Look::Empty, Look::Header))
}
