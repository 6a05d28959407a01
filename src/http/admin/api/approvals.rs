//! Purchases that wait for a person.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Answer, limit, shown};
use crate::http::Problem;
use crate::http::admin::extract::{Input, Parameters};
use crate::http::admin::guard::{About, Caller};
use crate::spend::{Answered, Approval};

#[derive(Deserialize)]
pub(in crate::http::admin) struct ListQuery {
    agent: Option<String>,
    limit: Option<u32>,
}

#[derive(Serialize)]
pub(in crate::http::admin) struct Approvals {
    items: Vec<Approval>,
}

pub(in crate::http::admin) async fn list(
    caller: Caller,
    Parameters(query): Parameters<ListQuery>,
) -> Answer<Approvals> {
    let node = caller.admit(About::default()).await?;
    let items = node
        .spender
        .list_approvals(query.agent.as_deref(), limit(query.limit))
        .await?;
    Ok(Json(Approvals { items }))
}

#[derive(Deserialize)]
pub(in crate::http::admin) struct Word {
    /// Words for the record, such as why.
    #[serde(default)]
    note: String,
}

pub(in crate::http::admin) async fn approve(
    caller: Caller,
    Path(id): Path<String>,
    Input(word): Input<Word>,
) -> Answer<Approval> {
    let node = caller.admit(About::default()).await?;
    answer(&id, node.spender.approve(&id, &word.note).await?)
}

pub(in crate::http::admin) async fn deny(
    caller: Caller,
    Path(id): Path<String>,
    Input(word): Input<Word>,
) -> Answer<Approval> {
    let node = caller.admit(About::default()).await?;
    answer(&id, node.spender.deny(&id, &word.note).await?)
}

fn answer(id: &str, answered: Answered) -> Answer<Approval> {
    let id = shown(id);
    let conflict = |code, detail| Problem::new(StatusCode::CONFLICT, code, detail);
    match answered {
        Answered::Done(approval) => Ok(Json(*approval)),
        Answered::Missing => Err(Problem::not_found(format!("no purchase {id} waits"))
            .next("see which do: feria approval list")),
        Answered::Before(approval) => Err(conflict(
            "approval_decided",
            format!("purchase {id} is {} already", approval.state),
        )),
        Answered::Expired(_) => Err(conflict(
            "approval_expired",
            format!("purchase {id} has waited too long"),
        )
        .next("its caller can ask again with the same idempotency key")),
    }
}
