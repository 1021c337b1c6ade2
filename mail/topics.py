"""Names the topics that nobody is owed mails of, as mails and pages write them."""

from mail.values import Topic

TOPICS: dict[Topic, str] = {
    Topic.MODELS: "news of models that you voted for or use",
    Topic.SPENDING: "warnings about what you spend and what is left",
    Topic.WELCOME: "greetings in new accounts",
}
