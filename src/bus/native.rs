//! The few calls into librdkafka that `rdkafka` does not offer, or not safely.
//!
//! This is the only file with `unsafe` in it; each block says why it holds.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::record::Header;

/// `RD_KAFKA_PARTITION_UA`, a macro that the bindings lack: the partitioner decides.
const UNASSIGNED: i32 = -1;

/// A record on its way out.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    pub topic: &'a CStr,
    /// `None`: by the hash of the key, as Java's default partitioner would.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub timestamp_ms: Option<i64>,
}

/// Puts a record into the producer's queue. Unlike `BaseProducer::send` it allocates nothing on
/// our side, and takes headers whose names are any bytes.
///
/// # Errors
/// `QueueFull` when the producer has no room now; others as librdkafka says.
pub fn produce<'h, C: ProducerContext>(
    producer: &BaseProducer<C>,
    record: &Outgoing<'_>,
    headers: impl Iterator<Item = Header<'h>>,
) -> Result<(), RDKafkaErrorCode> {
    let (key, key_len) = pointer_and_length(record.key);
    let (value, value_len) = pointer_and_length(record.value);
    let headers = native_headers(headers);
    // SAFETY: each vtype is followed by the arguments that rdkafka.h states for it, of the stated
    // C types, and the list ends with VTYPE_END. Key, value and topic outlive the call, which
    // copies them (MSG_F_COPY). The headers are ours until the call succeeds.
    let error = unsafe {
        rd::rd_kafka_producev(
            producer.client().native_ptr(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC,
            record.topic.as_ptr(),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            record.partition.unwrap_or(UNASSIGNED),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS,
            rd::RD_KAFKA_MSG_F_COPY,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE,
            value,
            value_len,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY,
            key,
            key_len,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP,
            record.timestamp_ms.unwrap_or(0),
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS,
            headers,
            rd::rd_kafka_vtype_t::RD_KAFKA_VTYPE_END,
        )
    };
    if error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    if !headers.is_null() {
        // SAFETY: the call failed, so the headers are still ours, and nobody else holds them.
        unsafe { rd::rd_kafka_headers_destroy(headers) };
    }
    Err(Code::from(error))
}

/// Waits until the brokers have everything, for at most `timeout`; says whether they have. While it
/// waits, nothing lingers. `BaseProducer::flush` asks with no time at all and polls in between: that
/// lets records linger, and a poll of a millisecond is spent spinning.
pub fn flush<C: ProducerContext>(producer: &BaseProducer<C>, timeout: Duration) -> bool {
    let timeout = timeout.as_millis().try_into().unwrap_or(i32::MAX);
    // SAFETY: the producer outlives the call.
    let answer = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), timeout) };
    answer == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// `None` is a null pointer; an empty slice is not: its pointer is dangling but never read.
fn pointer_and_length(bytes: Option<&[u8]>) -> (*mut std::ffi::c_void, usize) {
    bytes.map_or((ptr::null_mut(), 0), |b| (b.as_ptr().cast_mut().cast(), b.len()))
}

/// Null when there are none.
fn native_headers<'h>(headers: impl Iterator<Item = Header<'h>>) -> *mut rd::rd_kafka_headers_t {
    let mut native: *mut rd::rd_kafka_headers_t = ptr::null_mut();
    for header in headers {
        if native.is_null() {
            // SAFETY: allocates; it has no precondition.
            native = unsafe { rd::rd_kafka_headers_new(8) };
        }
        let (value, value_len) = pointer_and_length(header.value);
        // SAFETY: `native` is a live list of ours; name and value are copied with the lengths given.
        unsafe {
            rd::rd_kafka_header_add(
                native,
                header.name.as_ptr().cast(),
                header.name.len() as isize,
                value,
                value_len as isize,
            );
        }
    }
    native
}

/// The headers of a consumed message, whatever bytes their names are (`BorrowedHeaders` panics
/// where a name is not UTF-8).
pub fn headers<'m>(message: &'m BorrowedMessage<'_>) -> impl Iterator<Item = Header<'m>> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive as long as `'m`; librdkafka parses its headers in place.
    let error = unsafe { rd::rd_kafka_message_headers(message.ptr(), &mut list) };
    let some = error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    (0..).map_while(move |index| if some { header_at(list, index) } else { None })
}

fn header_at<'m>(list: *mut rd::rd_kafka_headers_t, index: usize) -> Option<Header<'m>> {
    let (mut name, mut value, mut value_len) = (ptr::null(), ptr::null(), 0);
    // SAFETY: `list` belongs to a live message (see `headers`); past its end the call says so.
    let error =
        unsafe { rd::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut value_len) };
    if error != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: the name is NUL-terminated and the value has the length given; both live as long as
    // the message.
    unsafe {
        let value =
            (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), value_len));
        Some(Header { name: CStr::from_ptr(name).to_bytes(), value })
    }
}

/// Is this consumer a member of its group in good standing? A classic group accepts offsets from
/// anyone without a generation, even while others own the partitions (kafka-facts.md §0.2), so
/// offsets are sent only with the metadata of a member.
pub fn is_member<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> bool {
    // SAFETY: the metadata is a copy of ours, read while alive and destroyed once.
    let (generation, has_id) = unsafe {
        let metadata = rd::rd_kafka_consumer_group_metadata(consumer.client().native_ptr());
        if metadata.is_null() {
            return false;
        }
        let generation = rd::rd_kafka_consumer_group_metadata_generation_id(metadata);
        let id = rd::rd_kafka_consumer_group_metadata_member_id(metadata);
        let has_id = !id.is_null() && !CStr::from_ptr(id).is_empty();
        rd::rd_kafka_consumer_group_metadata_destroy(metadata);
        (generation, has_id)
    };
    generation >= 0 && has_id
}

/// End of the partition as the last fetch told it (under read_committed: the last stable offset).
/// Asks nobody; `None` before the first fetch.
pub fn known_end<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &CString,
    partition: i32,
) -> Option<i64> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the topic is NUL-terminated; both results are plain integers of ours.
    let error = unsafe {
        rd::rd_kafka_get_watermark_offsets(
            consumer.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &mut low,
            &mut high,
        )
    };
    let known = error == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0;
    known.then_some(high)
}
