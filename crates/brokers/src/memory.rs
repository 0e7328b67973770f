//! `memory`: topics within this process. A message goes to whoever has subscribed at that moment; without anybody it is gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use transom_api::{
    Broker, BrokerMessage, Brokers, Deliver, Factory, Node, ParseError, Parsed, Prepare,
    PrepareContext, PublishError, Published, Schema, Subscription,
};

/// Makes the broker of the process.
#[derive(Debug)]
pub struct MemoryFactory;

impl Factory<Brokers> for MemoryFactory {
    fn schema(&self) -> Schema {
        Schema::object().describe("Topics within this process.")
    }

    fn parse(&self, config: &Node) -> Result<Arc<dyn Parsed<Brokers>>, ParseError> {
        if !config.is_null() {
            config.as_fields()?.finish()?;
        }
        Ok(Arc::new(Self))
    }
}

impl Parsed<Brokers> for MemoryFactory {
    fn prepare(&self, context: PrepareContext) -> Prepare<Brokers> {
        let broker: Arc<dyn Broker> = context.keep("broker/memory", Memory::default);
        Box::pin(std::future::ready(Ok(broker)))
    }
}

/// The topics of the process, and who has subscribed to them.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Topics>>);

#[derive(Default)]
struct Topics {
    next: u64,
    subscribed: BTreeMap<String, BTreeMap<u64, Deliver>>,
}

/// Ends a subscription when it is dropped.
struct Held {
    topics: Weak<Mutex<Topics>>,
    topic: String,
    number: u64,
}

impl Broker for Memory {
    fn publish(&self, message: BrokerMessage, done: Published) -> Result<(), PublishError> {
        let subscribed: Vec<Deliver> = {
            let topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let subscribed = topics.subscribed.get(&message.topic);
            subscribed.map_or_else(Vec::new, |it| it.values().cloned().collect())
        };
        for deliver in subscribed {
            deliver(message.clone());
        }
        done(Ok(()));
        Ok(())
    }

    fn subscribe(&self, topic: &str, deliver: Deliver) -> Result<Subscription, PublishError> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = topics.next;
        topics.next += 1;
        let subscribed = topics.subscribed.entry(topic.to_owned()).or_default();
        subscribed.insert(number, deliver);
        Ok(Box::new(Held {
            topics: Arc::downgrade(&self.0),
            topic: topic.to_owned(),
            number,
        }))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(topics) = self.topics.upgrade() else {
            return;
        };
        let mut topics = topics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(subscribed) = topics.subscribed.get_mut(&self.topic) {
            subscribed.remove(&self.number);
            if subscribed.is_empty() {
                topics.subscribed.remove(&self.topic);
            }
        }
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Memory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_goes_to_those_who_have_subscribed_to_its_topic() {
        let broker = Memory::default();
        let got = Arc::new(Mutex::new(Vec::new()));
        let to = |name: &'static str| -> Deliver {
            let got = Arc::clone(&got);
            Arc::new(move |message: BrokerMessage| got.lock().unwrap().push((name, message.body)))
        };
        let publish = |topic: &str, body: &str| {
            let message = BrokerMessage {
                topic: topic.to_owned(),
                body: body.into(),
                ..BrokerMessage::default()
            };
            broker
                .publish(message, Box::new(|told| told.unwrap()))
                .unwrap();
        };
        let a = broker.subscribe("a", to("first")).unwrap();
        let b = broker.subscribe("a", to("second")).unwrap();
        publish("a", "1");
        publish("other", "2");
        drop(a);
        publish("a", "3");
        drop(b);
        publish("a", "4");
        let got = got.lock().unwrap();
        let one = |name, body: &str| (name, body.as_bytes().to_vec());
        assert_eq!(
            *got,
            [one("first", "1"), one("second", "1"), one("second", "3")]
        );
    }
}
