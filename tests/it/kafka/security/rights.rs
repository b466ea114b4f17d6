//! Rights and users of the secured broker, given and taken through what `rdkafka` has no safe call for:
//! the broker's own tools start a Java for each.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr;

use rdkafka::admin::AdminClient;
use rdkafka::bindings as rd;
use rdkafka::client::DefaultClientContext;

use super::secured::Secured;
use crate::kafka::eventually::{SOON, eventually};

/// What an ACL is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Topic,
    Group,
    TransactionalId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Read,
    Write,
    Create,
}

/// One line of the table in docs/security.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub operation: Operation,
    pub resource: Resource,
    pub name: String,
    /// Names that begin so, too.
    pub is_prefix: bool,
}

impl Right {
    pub fn new(operation: Operation, resource: Resource, name: impl Into<String>) -> Self {
        Self { operation, resource, name: name.into(), is_prefix: false }
    }

    pub fn read(topic: &str) -> Self {
        Self::new(Operation::Read, Resource::Topic, topic)
    }

    pub fn write(topic: &str) -> Self {
        Self::new(Operation::Write, Resource::Topic, topic)
    }

    /// As a program asks for it that lacks it.
    pub fn wanted(&self) -> String {
        let Self { operation, resource, name, .. } = self;
        let resource = match resource {
            Resource::Topic => format!("topic `{name}`"),
            Resource::Group => format!("group `{name}`"),
            // Of a prefix, the rest is a process's own.
            Resource::TransactionalId => format!("transactional id `{name}"),
        };
        format!("{operation:?} on {resource}")
    }

    /// As the API takes it, for a new ACL and for a filter alike.
    fn native(&self, user: &str, is_filter: bool) -> *mut rd::rd_kafka_AclBinding_t {
        use rd::rd_kafka_AclOperation_t as Op;
        use rd::rd_kafka_ResourcePatternType_t as Pattern;
        use rd::rd_kafka_ResourceType_t as Type;
        let kind = match self.resource {
            Resource::Topic => Type::RD_KAFKA_RESOURCE_TOPIC,
            Resource::Group => Type::RD_KAFKA_RESOURCE_GROUP,
            Resource::TransactionalId => Type::RD_KAFKA_RESOURCE_TRANSACTIONAL_ID,
        };
        let operation = match self.operation {
            Operation::Read => Op::RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => Op::RD_KAFKA_ACL_OPERATION_WRITE,
            Operation::Create => Op::RD_KAFKA_ACL_OPERATION_CREATE,
        };
        let pattern = match self.is_prefix {
            true => Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
            false => Pattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
        };
        let allow = rd::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW;
        let make =
            if is_filter { rd::rd_kafka_AclBindingFilter_new } else { rd::rd_kafka_AclBinding_new };
        let (name, principal) = (text(&self.name), text(&format!("User:{user}")));
        let mut fault: [c_char; 256] = [0; 256];
        // SAFETY: the strings end with NUL and are copied; `fault` has the size given.
        let made = unsafe {
            make(
                kind,
                name.as_ptr(),
                pattern,
                principal.as_ptr(),
                c"*".as_ptr(),
                operation,
                allow,
                fault.as_mut_ptr(),
                fault.len(),
            )
        };
        assert!(!made.is_null(), "{self:?} is no ACL");
        made
    }
}

impl Secured {
    /// Lets `user` do all of it.
    pub fn give(&self, user: &str, rights: &[Right]) {
        let mut natives: Vec<_> = rights.iter().map(|right| right.native(user, false)).collect();
        let event = answer(self.admin(), |client, queue| {
            // SAFETY: the list has the length given, and outlives the call.
            unsafe {
                rd::rd_kafka_CreateAcls(
                    client,
                    natives.as_mut_ptr(),
                    natives.len(),
                    ptr::null(),
                    queue,
                );
            }
        });
        // SAFETY: the event is a result of this kind, the errors in it live as long as it does; each ACL
        // and the event are ours and destroyed once.
        unsafe {
            let mut count = 0;
            let results = rd::rd_kafka_CreateAcls_result_acls(
                rd::rd_kafka_event_CreateAcls_result(event),
                &mut count,
            );
            assert_eq!(count, rights.len());
            for index in 0..count {
                check(rd::rd_kafka_acl_result_error(*results.add(index)));
            }
            rd::rd_kafka_event_destroy(event);
            natives.into_iter().for_each(|acl| rd::rd_kafka_AclBinding_destroy(acl));
        }
        for right in rights {
            self.await_seeing(user, right, true);
        }
    }

    /// `user` may no longer do it.
    pub fn take(&self, user: &str, right: &Right) {
        let mut filters = [right.native(user, true)];
        let event = answer(self.admin(), |client, queue| {
            // SAFETY: as above.
            unsafe {
                rd::rd_kafka_DeleteAcls(client, filters.as_mut_ptr(), 1, ptr::null(), queue);
            }
        });
        // SAFETY: as above.
        unsafe {
            let (mut count, mut matching) = (0, 0);
            let result = rd::rd_kafka_event_DeleteAcls_result(event);
            let responses = rd::rd_kafka_DeleteAcls_result_responses(result, &mut count);
            assert_eq!(count, 1);
            check(rd::rd_kafka_DeleteAcls_result_response_error(*responses));
            rd::rd_kafka_DeleteAcls_result_response_matching_acls(*responses, &mut matching);
            assert_eq!(matching, 1, "{user} had no such right: {right:?}");
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_AclBinding_destroy(filters[0]);
        }
        self.await_seeing(user, right, false);
    }

    /// The controller has taken an ACL a moment before the broker goes by it.
    fn await_seeing(&self, user: &str, right: &Right, is_there: bool) {
        eventually(SOON, "the broker to go by an ACL", || {
            (self.sees(user, right) == is_there).then_some(())
        });
    }

    fn sees(&self, user: &str, right: &Right) -> bool {
        let filter = right.native(user, true);
        let event = answer(self.admin(), |client, queue| {
            // SAFETY: as above.
            unsafe { rd::rd_kafka_DescribeAcls(client, filter, ptr::null(), queue) };
        });
        // SAFETY: as above.
        unsafe {
            let mut count = 0;
            let result = rd::rd_kafka_event_DescribeAcls_result(event);
            rd::rd_kafka_DescribeAcls_result_acls(result, &mut count);
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_AclBinding_destroy(filter);
            count > 0
        }
    }

    /// Makes a user of SCRAM-SHA-512.
    pub fn add_scram_user(&self, user: &str, password: &str) {
        let (name, mechanism) =
            (text(user), rd::rd_kafka_ScramMechanism_t::RD_KAFKA_SCRAM_MECHANISM_SHA_512);
        // SAFETY: the name ends with NUL, the password has the length given; both are copied. Without a
        // salt, one is made.
        let mut change = unsafe {
            rd::rd_kafka_UserScramCredentialUpsertion_new(
                name.as_ptr(),
                mechanism,
                4096,
                password.as_ptr(),
                password.len(),
                ptr::null(),
                0,
            )
        };
        let event = answer(self.admin(), |client, queue| {
            // SAFETY: as above.
            unsafe {
                rd::rd_kafka_AlterUserScramCredentials(client, &mut change, 1, ptr::null(), queue);
            }
        });
        // SAFETY: as above.
        unsafe {
            let mut count = 0;
            let result = rd::rd_kafka_event_AlterUserScramCredentials_result(event);
            let responses =
                rd::rd_kafka_AlterUserScramCredentials_result_responses(result, &mut count);
            assert_eq!(count, 1);
            check(rd::rd_kafka_AlterUserScramCredentials_result_response_error(*responses));
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_UserScramCredentialAlteration_destroy(change);
        }
    }
}

/// Asks something, and waits for the answer, which is the caller's to destroy.
fn answer(
    admin: &AdminClient<DefaultClientContext>,
    ask: impl FnOnce(*mut rd::rd_kafka_t, *mut rd::rd_kafka_queue_t),
) -> *mut rd::rd_kafka_event_t {
    const PATIENCE_MS: i32 = 20_000;
    let client = admin.inner().native_ptr();
    // SAFETY: the client lives as long as `admin`; the queue is ours and destroyed once, after its one
    // event was taken from it.
    unsafe {
        let queue = rd::rd_kafka_queue_new(client);
        ask(client, queue);
        let event = rd::rd_kafka_queue_poll(queue, PATIENCE_MS);
        assert!(!event.is_null(), "the broker does not answer");
        let code = rd::rd_kafka_event_error(event);
        let why = rd::rd_kafka_event_error_string(event);
        let none = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        assert!(code == none, "{:?}", CStr::from_ptr(why));
        rd::rd_kafka_queue_destroy(queue);
        event
    }
}

fn check(error: *const rd::rd_kafka_error_t) {
    // SAFETY: the error is null or belongs to an event that is alive; of null, the code is that of none.
    let (code, why) = unsafe { (rd::rd_kafka_error_code(error), rd::rd_kafka_error_string(error)) };
    if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: as above.
        panic!("{:?}", unsafe { CStr::from_ptr(why) });
    }
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no NUL in it")
}
