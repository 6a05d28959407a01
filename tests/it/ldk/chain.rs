//! A regtest chain in memory, served like an Esplora: mined on demand, nothing checked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::encode::{deserialize_hex, serialize, serialize_hex};
use bitcoin::hashes::{Hash, sha256};
use bitcoin::{
    Address, Amount, Block, BlockHash, CompactTarget, MerkleBlock, Network, OutPoint, ScriptBuf,
    Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid, Witness, transaction,
};
use feria::lifecycle::Lifecycle;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Easier than anything: every second hash will do.
const EASIEST: u32 = 0x207f_ffff;

/// The chain; clones share it.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<Ledger>>,
}

struct Ledger {
    blocks: Vec<Block>,
    pool: Vec<Transaction>,
    now: u32,
}

impl Chain {
    pub(super) async fn start(now: u64, lifecycle: &Lifecycle) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let genesis = bitcoin::constants::genesis_block(Network::Regtest);
        let chain = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::new(Mutex::new(Ledger {
                blocks: vec![genesis],
                pool: Vec::new(),
                now: u32::try_from(now).unwrap() - 10_000,
            })),
        };
        let router = Router::new()
            .route("/blocks", get(blocks))
            .route("/blocks/tip/hash", get(tip_hash))
            .route("/blocks/tip/height", get(tip_height))
            .route("/block-height/{height}", get(hash_at))
            .route("/block/{hash}/header", get(header))
            .route("/block/{hash}/status", get(block_status))
            .route("/tx", post(broadcast))
            .route("/tx/{id}", get(transaction_info))
            .route("/tx/{id}/raw", get(raw))
            .route("/tx/{id}/merkleblock-proof", get(proof))
            .route("/tx/{id}/outspend/{output}", get(outspend))
            .route("/scripthash/{hash}/txs", get(history))
            .route("/scripthash/{hash}/txs/chain/{last}", get(no_more))
            .route("/fee-estimates", get(fees))
            .with_state(chain.clone());
        lifecycle.spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        chain.mine(1);
        chain
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Mines `count` blocks with what waits.
    pub(super) fn mine(&self, count: usize) {
        for _ in 0..count {
            self.state.lock().mine();
        }
    }

    /// Returns how many transactions wait.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().pool.len()
    }

    /// Gives `sat` to `address`, out of nothing.
    pub(super) fn give(&self, address: &str, sat: u64) {
        let address: Address<_> = address.parse().unwrap();
        let script = address.assume_checked().script_pubkey();
        let mut state = self.state.lock();
        let unique = state.blocks.len() + state.pool.len();
        let input = TxIn {
            previous_output: OutPoint::new(Txid::hash(&unique.to_be_bytes()), 0),
            sequence: Sequence::MAX,
            ..TxIn::default()
        };
        state.pool.push(Transaction {
            version: transaction::Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![input],
            output: vec![TxOut {
                value: Amount::from_sat(sat),
                script_pubkey: script,
            }],
        });
    }
}

impl Ledger {
    fn mine(&mut self) {
        let height = self.blocks.len();
        let coinbase = Transaction {
            version: transaction::Version::ONE,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::null(),
                script_sig: ScriptBuf::builder()
                    .push_int(i64::try_from(height).unwrap())
                    .push_int(0)
                    .into_script(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(1),
                script_pubkey: ScriptBuf::new(),
            }],
        };
        let mut txdata = vec![coinbase];
        txdata.append(&mut self.pool);
        self.now += 10;
        let mut block = Block {
            header: Header {
                version: Version::TWO,
                prev_blockhash: self.tip(),
                merkle_root: TxMerkleNode::all_zeros(),
                time: self.now,
                bits: CompactTarget::from_consensus(EASIEST),
                nonce: 0,
            },
            txdata,
        };
        block.header.merkle_root = block.compute_merkle_root().unwrap();
        let target = block.header.target();
        while block.header.validate_pow(target).is_err() {
            block.header.nonce += 1;
        }
        self.blocks.push(block);
    }

    fn tip(&self) -> BlockHash {
        self.blocks.last().unwrap().block_hash()
    }

    fn height_of(&self, hash: BlockHash) -> Option<usize> {
        self.blocks
            .iter()
            .position(|block| block.block_hash() == hash)
    }

    /// Every transaction, with the height of its block.
    fn all(&self) -> impl Iterator<Item = (Option<usize>, &Transaction)> {
        let mined =
            self.blocks.iter().enumerate().flat_map(|(height, block)| {
                block.txdata.iter().map(move |one| (Some(height), one))
            });
        mined.chain(self.pool.iter().map(|one| (None, one)))
    }

    fn find(&self, id: Txid) -> Option<(Option<usize>, &Transaction)> {
        self.all().find(|(_, one)| one.compute_txid() == id)
    }

    fn status(&self, height: Option<usize>) -> Value {
        let Some(height) = height else {
            return json!({ "confirmed": false });
        };
        let block = &self.blocks[height];
        json!({
            "confirmed": true,
            "block_height": height,
            "block_hash": block.block_hash(),
            "block_time": block.header.time,
        })
    }

    fn info(&self, height: Option<usize>, one: &Transaction) -> Value {
        let outputs: HashMap<OutPoint, TxOut> = self
            .all()
            .flat_map(|(_, other)| {
                let id = other.compute_txid();
                let outputs = other.output.iter().zip(0..);
                outputs.map(move |(output, place)| (OutPoint::new(id, place), output.clone()))
            })
            .collect();
        let output = |output: &TxOut| json!({ "value": output.value.to_sat(), "scriptpubkey": output.script_pubkey });
        let inputs: Vec<Value> = one
            .input
            .iter()
            .map(|input| {
                let witness: Vec<String> = input.witness.iter().map(hex::encode).collect();
                json!({
                    "txid": input.previous_output.txid,
                    "vout": input.previous_output.vout,
                    "prevout": outputs.get(&input.previous_output).map(output),
                    "scriptsig": input.script_sig,
                    "witness": witness,
                    "sequence": input.sequence.0,
                    "is_coinbase": one.is_coinbase(),
                })
            })
            .collect();
        json!({
            "txid": one.compute_txid(),
            "version": one.version.0,
            "locktime": one.lock_time.to_consensus_u32(),
            "vin": inputs,
            "vout": one.output.iter().map(output).collect::<Vec<_>>(),
            "size": one.total_size(),
            "weight": one.weight().to_wu(),
            "status": self.status(height),
            "fee": 0,
        })
    }
}

fn or_not_found(answer: Option<impl IntoResponse>) -> Response {
    answer.map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        IntoResponse::into_response,
    )
}

async fn blocks(State(chain): State<Chain>) -> Response {
    let state = chain.state.lock();
    let latest = state.blocks.iter().enumerate().rev().take(10);
    let list: Vec<Value> = latest
        .map(|(height, block)| {
            let header = &block.header;
            json!({
                "id": block.block_hash(),
                "height": height,
                "version": header.version.to_consensus(),
                "timestamp": header.time,
                "mediantime": header.time,
                "tx_count": block.txdata.len(),
                "size": block.total_size(),
                "weight": block.weight().to_wu(),
                "merkle_root": header.merkle_root,
                "previousblockhash": header.prev_blockhash,
                "nonce": header.nonce,
                "bits": header.bits.to_consensus(),
                "difficulty": 0.0,
            })
        })
        .collect();
    axum::Json(list).into_response()
}

async fn tip_hash(State(chain): State<Chain>) -> String {
    chain.state.lock().tip().to_string()
}

async fn tip_height(State(chain): State<Chain>) -> String {
    (chain.state.lock().blocks.len() - 1).to_string()
}

async fn hash_at(State(chain): State<Chain>, Path(height): Path<usize>) -> Response {
    let state = chain.state.lock();
    let block = state.blocks.get(height);
    or_not_found(block.map(|block| block.block_hash().to_string()))
}

async fn header(State(chain): State<Chain>, Path(hash): Path<BlockHash>) -> Response {
    let state = chain.state.lock();
    let height = state.height_of(hash);
    or_not_found(height.map(|height| serialize_hex(&state.blocks[height].header)))
}

async fn block_status(State(chain): State<Chain>, Path(hash): Path<BlockHash>) -> Response {
    let state = chain.state.lock();
    let height = state.height_of(hash);
    or_not_found(height.map(|height| {
        let next = state.blocks.get(height + 1).map(Block::block_hash);
        axum::Json(json!({ "in_best_chain": true, "height": height, "next_best": next }))
    }))
}

async fn broadcast(State(chain): State<Chain>, body: String) -> Response {
    let Ok(one) = deserialize_hex::<Transaction>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let id = one.compute_txid();
    let mut state = chain.state.lock();
    if state.find(id).is_none() {
        state.pool.push(one);
    }
    id.to_string().into_response()
}

async fn transaction_info(State(chain): State<Chain>, Path(id): Path<Txid>) -> Response {
    let state = chain.state.lock();
    let found = state.find(id);
    or_not_found(found.map(|(height, one)| axum::Json(state.info(height, one))))
}

async fn raw(State(chain): State<Chain>, Path(id): Path<Txid>) -> Response {
    let state = chain.state.lock();
    or_not_found(state.find(id).map(|(_, one)| serialize(one)))
}

async fn proof(State(chain): State<Chain>, Path(id): Path<Txid>) -> Response {
    let state = chain.state.lock();
    let height = state.find(id).and_then(|(height, _)| height);
    or_not_found(height.map(|height| {
        let block = &state.blocks[height];
        serialize_hex(&MerkleBlock::from_block_with_predicate(block, |one| {
            *one == id
        }))
    }))
}

async fn outspend(State(chain): State<Chain>, Path((id, output)): Path<(Txid, u32)>) -> Response {
    let state = chain.state.lock();
    let sought = OutPoint::new(id, output);
    let spends = |one: &Transaction| {
        one.input
            .iter()
            .position(|input| input.previous_output == sought)
    };
    let spent = state
        .all()
        .find_map(|(height, one)| Some((height, one.compute_txid(), spends(one)?)));
    axum::Json(match spent {
        None => json!({ "spent": false }),
        Some((height, by, input)) => json!({
            "spent": true,
            "txid": by,
            "vin": input,
            "status": state.status(height),
        }),
    })
    .into_response()
}

async fn history(State(chain): State<Chain>, Path(hash): Path<String>) -> Response {
    let state = chain.state.lock();
    let is_sought = |script: &ScriptBuf| {
        // As Esplora writes it: the digest's bytes as they are.
        sha256::Hash::hash(script.as_bytes()).to_string() == hash
    };
    let list: Vec<Value> = state
        .all()
        .map(|(height, one)| (one, state.info(height, one)))
        .filter(|(one, info)| {
            let pays = one
                .output
                .iter()
                .any(|output| is_sought(&output.script_pubkey));
            let inputs = info["vin"].as_array().unwrap();
            let spends = inputs.iter().any(|input| {
                let script = input["prevout"]["scriptpubkey"].as_str();
                script.is_some_and(|text| is_sought(&ScriptBuf::from_hex(text).unwrap()))
            });
            pays || spends
        })
        .map(|(_, info)| info)
        .collect();
    axum::Json(list).into_response()
}

async fn no_more() -> axum::Json<[u8; 0]> {
    axum::Json([])
}

async fn fees() -> axum::Json<Value> {
    let targets = ["1", "2", "3", "6", "12", "25", "144", "504", "1008"];
    axum::Json(
        targets
            .iter()
            .map(|target| ((*target).to_owned(), json!(1.0)))
            .collect(),
    )
}
