# SPDX-License-Identifier: GPL-3.0-or-later
"""A seeded generator of short stories.

story(rng) returns one story of about 60 to 180 words, in one to three
paragraphs separated by a single newline. The same rng state always gives the
same story. Run the file to print some:

    python3 story_grammar.py [seed] [count]

A plot is a pair of texts. The first is the incident, a clause that begins with
{S}, the subject; the second is everything that follows from it. In both,
[a|b|c] stands for one of the alternatives (nesting is allowed, an empty
alternative makes a sentence optional), and {slot} for a word that is chosen
once and then stays the same for the whole story.
"""

import random
import sys

WIDE_GIRLS = """Mira Zoë Anna Clara Elsie Ida Nora Tilda Rosa Hanna Lucy Maya Ruth Greta Ivy Lena Sofia
Chloé Emma Olive Pia Tess Wanda Yara Alma Bella Daisy Edith Freya Hazel Inés Juno Kaja Lotte
Márta Nell Petra Sara Vera Willa Amina Leila Noor Priya Mei Sanna Agnes Molly Rosie Lily""".split()
WIDE_BOYS = """Tom Łukasz Emil Oskar Felix Hugo Jonas Karl Leo Max Nico Otto Paul Søren Theo Viktor Will
André Ben Casper Daniel Elias Finn George Henry Ivan Jack Kofi Liam Milo Noah Omar Peter
Quentin Rafael Sam Toby Jürgen Walter Anton Bruno Arthur Jamie Ravi Kenji Simon Ned José Lars Martin""".split()
WIDE_SURNAMES = """Hollis Brandt Pell Larkin Okoye Marsh Winter Fenn Novak Tanner Birch Lindqvist Moreau
Abbot Castle Dunn Hale Quill Rowe Sparrow""".split()
WIDE_VILLAGES = """Elmbrook Saltmere Willowford Greyharbour Applecote Nørby Fernhill Oakwick Larkfield
Stonebridge Windle Millbrook Hazelmoor Brackenfold Seaview Thornby Rosedale Ashcombe Birkholm
Pebble-on-Sea Foxley Honeydale Marlow Vesterby Kingsmill Heronsgate Silverwater Dunmere""".split()

# A small network has an easier time keeping people apart when there are not too
# many of them. The long lists above are for a part of the stories, these short ones
# for the rest.
GIRLS = "Mira Zoë Anna Clara Ida Nora Tilda Rosa Lucy Greta Priya Márta".split()
BOYS = "Tom Łukasz Emil Oskar Felix Jonas Leo Otto Søren Noah Kofi Milo".split()
WOMEN = ["Mrs Hollis", "Mrs Larkin", "Mrs Marsh", "Mrs Novak", "Mrs Sparrow", "Mrs Birch"]
MEN = ["Mr Brandt", "Mr Fenn", "Mr Okoye", "Mr Winter", "Mr Quill", "Mr Castle"]
VILLAGES = """Elmbrook Willowford Greyharbour Applecote Nørby Oakwick Larkfield Stonebridge
Hazelmoor Thornby Rosedale Dunmere""".split()

# job, what they did
JOBS = [
    ("baker", ["baked the best bread in {v}", "was up every day before the sun", "knew by heart what everyone liked for breakfast"]),
    ("clockmaker", ["could mend any clock in {v}", "kept forty clocks ticking in one small room"]),
    ("gardener", ["could make almost anything grow", "talked to the roses when nobody was listening"]),
    ("fisher", ["knew every wave in the bay", "rowed out each morning in a small green boat"]),
    ("postman", ["carried letters up every hill", "knew every door in {v}"]),
    ("shepherd", ["looked after thirty sheep and one clever dog", "knew every path in the hills"]),
    ("tailor", ["sewed coats with very neat stitches", "kept a drawer full of bright buttons"]),
    ("carpenter", ["made chairs that never creaked", "always smelled a little of fresh wood"]),
    ("beekeeper", ["sold golden honey in small jars", "hummed like the bees all day long"]),
    ("painter", ["painted the sea in every kind of weather", "always had a spot of blue paint on one sleeve"]),
    ("miller", ["ground the flour for the whole valley", "went about with flour in {his} hair"]),
    ("fiddler", ["played at every wedding in {v}", "knew a hundred tunes by heart"]),
    ("potter", ["made round blue bowls", "had clay on {his} hands from morning to night"]),
    ("bookbinder", ["mended old books with thread and glue", "read every book before giving it back"]),
    ("girl", None), ("girl", None), ("girl", None), ("girl", None),
]
CHILD = ["liked to ask questions", "climbed every tree in {v}", "collected round stones and feathers",
         "wanted to know how everything worked", "lived with {his} grandmother next to the mill",
         "lived above the little shop on Bridge Street", "could whistle like a blackbird"]
TRAITS = ["young", "cheerful", "quiet", "kind", "careful", "patient", "curious", "clever", "shy", "merry", "brave", "gentle"]
ADJ_VILLAGE = ["little", "small", "quiet", "sleepy", "old", "pretty"]
WIDE_OBJECTS = ["brass key", "silver button", "tin whistle", "red scarf", "wooden flute", "pocket watch", "blue ribbon",
           "music box", "silver ring", "glass marble", "leather purse", "green hat", "ivory comb", "golden thimble",
           "little compass", "wooden horse", "silver spoon", "blue notebook", "copper bell", "painted fan"]
OBJECTS = ["brass key", "silver button", "tin whistle", "red scarf", "wooden flute", "pocket watch", "blue ribbon",
           "music box", "glass marble", "leather purse", "copper bell", "golden thimble"]
KEEPSAKES = ["blue vase", "old clock", "china teapot", "painted plate", "glass lamp", "music box", "wooden ship", "yellow jug"]
PETS = ["dog", "cat", "goat", "donkey", "goose", "pony", "rabbit", "lamb", "hen", "puppy", "kitten"]
PETNAMES = ["Pepper", "Biscuit", "Button", "Clover", "Mossy", "Thimble", "Captain", "Pudding", "Nutmeg", "Smoky", "Bramble", "Pickle"]
WILD = ["hedgehog", "fox", "robin", "owl", "hare", "squirrel", "swallow", "blackbird", "badger", "otter"]
COLOURS = ["brown", "grey", "white", "black", "spotted", "little", "small", "thin"]
FOODS = ["apple pie", "onion soup", "plum cake", "warm bread", "gingerbread", "pea soup", "honey cake", "pancakes", "cherry tart", "potato stew"]
FLOWERS = ["roses", "sunflowers", "tulips", "poppies", "bluebells", "daisies", "lilies", "violets"]
FRUITS = ["apples", "pears", "plums", "cherries", "peaches"]
LOSTPLACES = ["under the bench by the church", "in the long grass behind the mill", "at the bottom of the garden",
              "between two stones of the old bridge", "under a heap of yellow leaves", "in the hollow of an oak tree",
              "beside the well in the square", "on the steps behind the barn"]

WEATHER = {
    "fair": (["sunny", "bright", "clear", "mild", "warm", "golden"],
             ["The sun shone on the roofs of {v}.", "There was not a cloud above {v}.",
              "The sky over {v} was as blue as a bowl.", "A warm wind blew through the streets of {v}."]),
    "wet": (["rainy", "grey", "misty", "foggy", "damp"],
            ["Rain tapped on the roofs of {v}.", "Mist lay over {v} like a soft blanket.",
             "It had rained all night in {v}.", "Grey clouds hung low above {v}."]),
    "windy": (["windy", "wild", "blustery", "breezy"],
              ["The wind rattled every shutter in {v}.", "The wind chased the leaves through {v}.",
               "All night long the wind had whistled around the chimneys of {v}."]),
    "cold": (["cold", "frosty", "snowy", "chilly", "icy"],
             ["Snow lay thick on the roofs of {v}.", "Frost shone on every window in {v}.",
              "The first snow of the year fell on {v}.", "It was so cold in {v} that the pond froze."]),
}

INTROS = [
    "Once upon a time, in the {av} village of {v}, there lived {ahero} [named|called] {h}.[ {He} {did}.|]",
    "Once upon a time, there was {ahero} [named|called] {h} who {did}.",
    "Once upon a time there lived {ahero} [named|called] {h}.[ {He} {did}, and [everyone liked {him}|the neighbours were fond of {him}].|]",
    "Once upon a time {h} lived in [a small house|a crooked cottage|a blue house] at the edge of {v}.[ {He} was {ahero} who {did}.|]",
    "In the village of {v}, [there lived|there was] {ahero} [named|called] {h}.[ {He} {did}.|]",
    "In the village of {v}, everyone knew {hj}.[ {He} {did}.|]",
    "There was once {ahero} [named|called] {h} who {did}.",
    "There was once {ahero} in {v} whose name was {h}.[ {He} {did}.|]",
    "Long ago, in {v}, {ahero} [named|called] {h} {did}.",
    "Far away, [between the hills and the sea|where the river bends], lay the {av} village of {v}. {ahero_cap} [named|called] {h} lived there.",
    "{h} was {ahero} who {did}.",
    "{h} was {ahero} [in|from] the {av} village of {v}.[ {He} {did}.|]",
    "{hj_cap} lived in {v}[, in a house with a green door|, at number {num}, {street}|, next to the café].[ {He} {did}.|]",
]
DAYS = ["One day", "One {tod}", "One {wadj} {tod}", "One {wadj} {tod}", "{early} one {wadj} {tod}", "On {wday}", "One {wadj} {season} {tod}"]
CLOSINGS = [
    "And that was the best part of all.", "From that day on, {h} and {f} were the best of friends.",
    "And the stars came out, one by one, over {v}.", "That night {h} slept very well.",
    "It was a good day, and {h} never forgot it.", "People in {v} still tell the story today.",
    "And if you go to {v}, you can still hear the story there.", "{h} smiled all the way home.",
    "Sometimes a small kindness is enough.", "And so the day ended well after all.",
    "Outside the window, {v} was quiet and happy.", "And everything was just as it should be.",
    "\"What a day!\" said {h}, and blew out the candle.", "After that, {h} was never afraid to ask for help.",
    "It is good to have a friend.",
]

# A closing that contains these words does not suit these plots.
UNSUITABLE = [
    ("What a day", ("dark", "snow", "lighthouse", "garden", "cafe", "clock", "map", "quarrel", "letter", "mistake", "pet", "bridge")),
    ("a good day", ("dark", "snow", "lighthouse", "garden", "cafe", "clock", "map", "quarrel", "pet", "bridge", "music")),
    ("the day ended", ("dark", "snow", "lighthouse", "garden", "cafe", "clock", "map", "quarrel", "pet", "bridge", "letter")),
    ("way home", ("dark", "snow", "garden", "cafe", "quarrel", "mistake", "map", "well", "baker", "lost", "wish")),
    ("slept very well", ("dark", "snow", "garden", "cafe", "clock", "map", "quarrel", "stranger", "journey")),
    ("ask for help", ("dark", "snow", "garden", "cafe", "clock", "map", "quarrel", "pet", "bridge", "letter",
                      "promise", "lighthouse", "market", "well", "race", "wish", "mistake")),
    ("have a friend", ("garden", "clock", "dark", "market")),
    ("stars came out", ("dark", "snow", "garden", "cafe", "clock", "map", "lighthouse", "quarrel", "pet", "market")),
    ("best part", ("dark", "lighthouse", "snow", "well")),
    ("small kindness", ("dark", "garden", "clock", "map", "music", "baker", "journey", "race")),
]

# ------------------------------------------------------------------- the plots
# name: (incident, what follows, weather kinds or None, jobs or None)
PLOTS = {}


def plot(name, incident, follows, weather=None, jobs=None, closing=True):
    PLOTS[name] = (incident, follows, weather, jobs, closing)


plot("lost",
     "{S} [reached into {his} pocket and found it empty|noticed that something was missing]. The {obj} was gone!",
     "[It had belonged to {his} {gran}, and {h} loved it [dearly|more than anything].|It was a present from {his} {gran}, and there was no other like it.]"
     "[ {h} looked under the bed, behind the stove and in every drawer.| {h} searched the whole house, but it was not there.]\n"
     "[\"Have you seen it?\" {he} asked {f}.|At last {h} ran to {f} and told {fhim} about it.] "
     "[\"No,\" said {f}, \"but I will help you look.\"|\"Do not worry,\" said {f}. \"We will look together.\"] "
     "[They walked back along the road, step by step.|They asked at the bakery, at the mill and at the café.|They looked until the sun was low.]"
     "[ {h} was ready to give up.| \"It is no use,\" sighed {h}.|]\n"
     "Then [a {wild} rustled nearby|{f} saw something shine|{f} stopped and pointed], and there it lay, {lostplace}! "
     "[{h} laughed and held it tight.|{h} danced for joy.|\"There it is!\" cried {h}.] "
     "[To say thank you, {he} shared {food} with {f}.|\"Thank you, {f},\" {he} said. \"I would never have found it alone.\"|{He} tied it to a string, so that it could never be lost again.]")

plot("promise",
     "{S} made a promise. \"I will bring you [a basket of {fruits}|some {food}|a bunch of {flowers}] [before the sun goes down|before evening|by tonight],\" {he} told {e}.",
     "[{e} was ill in bed and had no other visitors.|{e} lived alone on the hill and did not see many people.] "
     "[But the day was full of work, and {h} forgot.|But {f} came by, and they played and talked until it was late.|But there was so much to do that the hours flew away.]\n"
     "[When the church bell rang six, {h} jumped up.|Suddenly {h} saw how low the sun was.] \"[Oh no, my promise|My promise]!\" {he} cried. "
     "[Dark clouds came over the hill, and it began to rain.|The path was steep and the wind was strong.|The bridge was closed, so {h} had to take the long way round.] "
     "[\"Stay here, it is too late,\" said {f}. \"A promise is a promise,\" said {h}.|{He} wanted to turn back, but a promise is a promise.|\"Take my lantern,\" said {f}, and off {he} went.]\n"
     "[Wet and out of breath|Tired and muddy], {h} knocked at the door [just as|a moment before] the sun went down. "
     "[\"I knew you would come,\" said {e}, and {ehis} eyes shone.|\"You came after all!\" said {e}. {Ehe} put the kettle on at once.] "
     "[They sat by the fire and talked until the rain stopped.|They ate together and laughed a great deal.|Never had {e} had a nicer evening.]")

plot("lighthouse",
     "{S} [climbed the stairs of the old lighthouse|went to visit the lighthouse] with a [basket of {food2}|can of oil|bag of apples] for {e}, the keeper.",
     "[There were one hundred and twelve steps.|The stairs went round and round.|From the top you could see the whole bay.] "
     "[But {e} had hurt {ehis} foot and could not climb.|But {e} had a bad cold and lay in bed.] "
     "[\"And a storm is coming,\" {ehe} said. \"Who will light the lamp?\"|\"The lamp must be lit tonight,\" said {e}. \"Will you do it?\"]\n"
     "[That evening the storm came.|Soon the storm broke over the sea.] [The waves were as high as houses.|Thunder rolled and the windows shook.] "
     "{h} was afraid, but {he} [struck a match|climbed up with a small lantern] and lit the great lamp. "
     "[All night long {he} kept it burning.|{He} did not sleep at all that night.|Hour after hour {he} turned the heavy wheel.] "
     "[Far out, a small boat turned toward the light.|Far out in the dark, a fishing boat saw the light.]\n"
     "In the morning the sea was calm[, and the boat was safe in the harbour|]. "
     "[{f} climbed out of the boat. \"Your light brought me home,\" {fhe} said.|In the boat was {f}. \"I saw your light,\" {fhe} said, \"and I knew the way.\"] "
     "[{e} gave {h} the key to the lighthouse.|{e} was so proud that {ehe} forgot all about the pain.|And {e} said, \"Now there are two keepers here.\"]",
     weather=["windy", "wet", "fair"])

plot("journey",
     "{S} set out for {v2} with a parcel for {e}.",
     "[Inside was a {obj}, wrapped in brown paper.|\"Be careful with it,\" said {f}. \"There is a {obj} inside.\"] "
     "[The road went over three hills and through a dark wood.|It was a long walk, with a river and a forest on the way.]\n"
     "[At noon|After an hour], {h} came to [a place where the road split in two|a fork in the road], and there was no sign. "
     "[\"Left or right?\" {he} wondered.|{He} sat down on a stone and did not know what to do.] "
     "Just then {a_wild} [hopped|came] out of the bushes[, looked at {him}|] and [took|went down] the path on the left. "
     "[\"Why not?\" said {h}, and followed it.|{h} laughed and went the same way.] "
     "[The path was narrow, but it was full of {flowers}.|The wood was dark and quiet, but {h} sang all the way.|They crossed a stream together, stone by stone.]\n"
     "[Before evening|When the sun was low], {he} saw the lights of {v2}. "
     "{e} [opened the parcel with shaking hands|opened the parcel at once]. \"There it is!\" {ehe} said. \"[I lost it when I was young|I have waited so long for it].\" "
     "[{h} got a bowl of soup and a soft bed for the night.|Then there was {food} for supper, and {h} told of the animal that knew the way.]")

plot("mistake",
     "{S} was [dancing around the room|chasing the cat|carrying too many things at once] and bumped into the table. [Crash!|Bang!] The {keep} fell to the floor and broke.",
     "It belonged to {e}[, who had owned it for fifty years|, and it was very old|]. "
     "[{h} quickly hid the pieces in a box under the bed.|{h} swept up the pieces and hid them behind the stove.] \"[Nobody will know|Perhaps nobody will see],\" {he} thought.\n"
     "But [{he} could not eat {his} supper|{he} could not sleep that night|{his} heart felt as heavy as a stone]. "
     "[\"What is wrong?\" asked {f}. {h} told {fhim} everything. \"Tell the truth,\" said {f}. \"It will feel better.\"|{f} saw {his} sad face and said, \"It is never too late to tell the truth.\"]\n"
     "[The next morning|In the end], {h} took the box to {e}. \"I broke it,\" {he} said. \"I am sorry.\" "
     "[{e} was silent for a moment, and then {ehe} smiled.|{e} looked at the pieces for a long time.] \"[Thank you for telling me|It was brave of you to tell me],\" {ehe} said. \"[Come, let us mend it|We will mend it together].\" "
     "[They worked with glue and a fine brush all afternoon.|All day they glued one piece to the next.] "
     "[You could still see the cracks, but {e} said that it was now even more beautiful.|In the evening it stood in its old place, and {h} felt as light as a feather.]")

plot("stranger",
     "{S} was driving {his} cart [to the market|home from the market] when [a wheel sank deep into the mud|a wheel came off with a loud crack].",
     "[The cart was full of {fruits}.|There were twelve baskets of {fruits} on the cart.|The {pet} pulled as hard as it could, but the cart did not move.] "
     "{h} pushed and pulled, [but it was no use|but nothing helped]. [Two riders went by and did not stop.|A rich man in a coach went past and did not even look.|It began to grow dark, and {h} felt very much alone.]\n"
     "Then [a stranger|a traveller] came along the road[, with a long grey coat and a small {obj}|, carrying nothing but a {obj}]. \"[May I help|Can I help you]?\" asked the stranger. "
     "[Together they put a strong branch under the wheel and lifted.|The stranger found a plank and a rope, and together they set to work.] \"[One, two, three|Now]!\" [And the cart was free.|With a great jump, the cart was free.] "
     "[\"How can I thank you?\" asked {h}.|{h} wanted to pay, but the stranger shook {shis} head.] \"[Help the next one you meet|Do the same for someone else],\" said the stranger[, and walked on|].\n"
     "[A week later|Before the month was over], {h} met {f}, whose [boat was leaking|roof had blown away|fence had fallen down]. "
     "[{h} stopped at once. \"May I help?\" {he} asked.|{h} thought of the stranger and rolled up {his} sleeves.] "
     "[They worked until evening, and {f} promised to help the next one too.|And when {f} wanted to pay, {h} only smiled. \"Help the next one you meet,\" {he} said.]",
     weather=["wet", "windy"])

plot("garden",
     "{S} [found a rusty gate behind the house|pushed open an old gate at the end of the lane]. Behind it lay a forgotten garden.",
     "[Weeds grew as high as the wall, and the little fountain was dry.|There were only thorns and stones, and one bare tree.] "
     "[\"Nothing will ever grow here,\" said {f}.|\"Leave it alone,\" said {f}. \"It is only weeds.\"] "
     "[\"We will see,\" said {h}.|But {h} had already made a plan.]\n"
     "[All spring|Day after day], {he} pulled out weeds, [dug the hard earth|carried away stones] and planted {flowers}. "
     "[Then for weeks nothing happened.|But week after week the earth stayed bare.|Then came a dry month, and every evening {h} carried water from the well.] "
     "[{He} was sad, but {he} went on watering.|\"Perhaps {f} was right,\" {h} thought.|{f} shook {fhis} head, but one day {fhe} brought a second can.]\n"
     "Then, one [warm|early|quiet] morning, [there was a tiny green leaf|something green came out of the earth]. [Soon there were ten, and then a hundred.|The next day there were more.] "
     "By summer the garden was full of flowers, and [bees hummed|birds sang|butterflies danced] [everywhere|from morning to night]. "
     "[\"I was wrong,\" said {f}, \"and I am glad of it.\"|{f} sat down on the old bench and could not believe it.] "
     "[{h} left the gate open, so that everyone could come in.|{h} hung a sign on the gate: \"Please come in.\"]",
     weather=["fair"])

plot("baker",
     "{S} [woke up late|overslept], and [it was the day of the great feast|the whole village was waiting for the feast]. {He} mixed the dough so fast that {he} [took the salt instead of the sugar|put in cinnamon instead of salt|forgot the yeast].",
     "[When the cakes came out of the oven, they tasted dreadful.|The first cake came out of the oven flat and strange.] "
     "[\"The feast is ruined!\" cried {h}.|{h} sat down on a sack of flour and hid {his} face.] [It was already {num} o'clock, and there was no flour left.|There was no time and no flour to start again.]\n"
     "[Just then {f} came in.|The door opened, and {f} looked in.] [\"What has happened here?\" {fhe} asked.|\"Why so sad?\" {fhe} asked.] {h} told {fhim} everything. "
     "\"[I have a little flour at home|I still have a small sack of flour],\" said {f}. [Then {e} brought six eggs, and someone else brought butter.|{f} ran from door to door, and soon {e} came with eggs and butter.] "
     "[Everyone helped to stir.|Soon the bakery was full of people with white noses.]\n"
     "At [noon|sunset], there was {food} on every table in {v}. "
     "[\"It is the best you have ever made,\" said {e}.|{e} ate three pieces and asked for a fourth.] "
     "[\"We made it together,\" said {h}.|\"That is because so many hands were in it,\" said {h}.] "
     "[And the first cakes? The ducks on the pond ate them happily.|And ever since, the whole village bakes together on that day.]",
     jobs=["baker"])

plot("market",
     "{S} went to the market in {v2} with only [one egg|a ball of string|one copper coin|a jar of honey] in {his} [pocket|basket].",
     "[{h} wanted to buy a present for {his} {gran}.|It was the birthday of {his} {gran}, and {h} wished to bring something home.] "
     "[\"That is not enough,\" said the first trader.|\"For that you cannot buy much,\" laughed a trader.]\n"
     "[At the next stall|By the fountain] {he} met {f}, [who needed just what {h} had|who looked very worried]. \"[Give it to me, and you may have this basket of {fruits}|If you let me have it, I will give you these {fruits}],\" {fhe} said. "
     "[{h} agreed and went on.|{h} was happy to help.] [Then {he} saw a hungry child who was crying, and {he} gave everything away.|Then {e} came by, tired and hungry, and {h} gave {ehim} everything.] "
     "[Now {his} hands were empty.|Now {h} had nothing left at all.]\n"
     "[But an old woman had seen it all.|But the trader at the corner stall had seen everything.] \"[Whoever gives like that should not go home with nothing|You have a good heart],\" she said, and she [put a {obj} into {h}'s hand|gave {h} a {obj}]. "
     "[{h} ran all the way home.|{h} thanked her three times and ran home.] [\"How did you pay for it?\" asked {his} {gran}, and {h} told the story.|{His} {gran} had never had a finer present.]",
     weather=["fair", "windy"])

plot("pet",
     "{S} heard a small sound [behind the barn|under the bridge|at the door]. It was a [{colour}|wet {colour}] {pet}, [hungry and all alone|cold and hungry].",
     "[\"Where do you come from?\" asked {h}.|\"You poor thing,\" said {h}.] {He} gave it [some milk and a piece of bread|a warm place by the stove|a bowl of water and a blanket]. "
     "[{h} named it {petname}.|\"I will call you {petname},\" {he} said.] [Soon it followed {him} everywhere.|From then on it never left {his} side.|It slept at the foot of {his} bed.]\n"
     "[But after a week there was a note on the church door: \"Lost, and sadly missed.\" It was signed by {e}.|But one day {f} said, \"I know it. It belongs to {e}, on the other side of the hill.\"] "
     "[{h} cried a little.|{h} did not want to hear it.] [\"But {ehe} must miss it very much,\" {he} thought.|All night {he} lay awake and thought about it.] "
     "In the morning {he} took it to {e}.\n"
     "{e} [wept for joy|could not believe {ehis} eyes]. \"[You are very honest|That was not easy for you],\" {ehe} said. "
     "[\"Come and visit us every day, if you like.\"|\"I am old, and it likes to run. Will you come and walk with it every day?\"] "
     "[{h} came every single day.|And so it had two homes.|{h} nodded and laughed, and it jumped up and down.]")

plot("music",
     "{S} heard that there would be [a great feast|a dance] [in the square|by the river] [on Sunday|in a week], and that they needed someone to play the [fiddle:fiddle|flute:flute|drum:drum].",
     "[{h} played well, but only when nobody was listening.|{h} had practised for years, but always alone in the barn.] "
     "[\"Play for us!\" said {f}.|\"You should do it,\" said {f}.] [\"I am too shy,\" said {h}.|\"What if I make a mistake?\" asked {h}.]\n"
     "[On the evening of the feast, the lanterns were lit, but it was quiet.|The evening came, and all of {v} was there, but nobody had come to play.] [People began to go home.|{e} looked at {ehis} shoes and sighed. \"No music, no dance.\"] "
     "Then {h} heard {a_wild} [calling|singing] in the dark, [all alone and without any fear|as if the whole night belonged to it]. "
     "[\"If it can do that, so can I,\" {he} thought.|{h} took a deep breath.]\n"
     "{He} [closed {his} eyes and began to play|stood up and began to play, very softly]. [One note was wrong, but nobody minded.|At first {his} hands shook, but then the tune carried {him} along.] "
     "[{e} was the first to dance.|{f} clapped, {e} danced, and soon everyone was dancing.] [They danced until the moon was high.|The music did not stop until midnight.] "
     "[\"Will you play again next year?\" asked {f}. \"Gladly,\" said {h}.|\"You see?\" said {f}. And {h} saw.]",
     weather=["fair"])

plot("quarrel",
     "{S} [had a quarrel with {f}, who lived next door|began to quarrel with {f}, the neighbour]. It was all about [an apple tree|a fence|a {pet}|a borrowed ladder].",
     "[\"It is mine!\" said {h}. \"No, mine!\" said {f}.|Neither of them would give in.] [After that they did not say good morning any more.|{h} shut the window, and {f} shut the door.] "
     "[Weeks went by, and it was very quiet in the lane.|All through the summer they did not speak.]\n"
     "Then the [river rose|great storm came] in the night. [{h} heard someone shout.|A voice called for help.] Water was running into {f}'s house. "
     "[{h} did not stop to think.|{h} forgot all about the quarrel.] {He} [ran over with a lantern and a bucket|took {his} boots and a spade and ran]. "
     "[Side by side they carried chairs, books and blankets up the stairs.|They filled sacks with sand and put them in front of the door until the sun came up.]\n"
     "[In the morning they sat on the steps, wet and tired.|When it was over, they drank tea on the stairs.] [\"I am sorry,\" said {f}. \"So am I,\" said {h}.|\"I was foolish,\" said {f}. \"So was I,\" said {h}.] "
     "[Then they both began to laugh.|And they shook hands.] "
     "[Today there is a little gate between the two houses, and it is never locked.|Since then they have shared everything, even the {fruits}.]",
     weather=["fair", "wet", "windy"])

plot("snow",
     "{S} was walking home [through the hills|from {v2}] when it began to snow[ harder and harder|].",
     "[Soon the path was gone, and everything was white.|Soon {he} could not see {his} own hands.] [\"Is anyone there?\" called {h}, but only the wind answered.|{He} called out, but nobody answered.] "
     "[{His} feet were cold, and {he} was very tired.|{He} thought of the warm stove at home.]\n"
     "[Then, far away, {he} saw a small yellow light.|Then a small light moved between the trees.] [It moved, stopped, and moved again.|It swung to and fro, as if to say: come.] "
     "{h} followed it[ over a bridge and past a frozen mill|, step by step|]. [At last|In the end] {he} stood before a little house, and there was {e} with a lantern. "
     "\"[I go out every time it snows|When it snows, I always light my lantern],\" said {e}. \"[Someone might be lost|You never know who is on the road].\"\n"
     "{h} [drank hot milk with honey|ate two bowls of {food2}] and [slept by the fire|warmed {his} feet by the stove]. "
     "[In the morning the sky was blue, and {he} could see {v} quite near.|By morning the storm had passed, and {e} showed {him} the way.] "
     "[Since that night {h} owns a lantern too, and when it snows, {he} lights it.|And now, when it snows, there are two lanterns in the hills: one for {e} and one for {h}.]",
     weather=["cold"])

plot("letter",
     "{S} [opened an old book|cleaned out the attic|mended an old desk] and found a letter that had never been sent.",
     "[The paper was yellow, and the stamp was forty years old.|It was so old that the ink had turned brown.] On it stood a name: {e}. "
     "[\"We must bring it to {ehim},\" said {f}.|{h} showed it to {f}. \"I think {ehe} lives in {v2} now,\" said {f}.|{h} did not open it, for it was not {his} letter. \"I know who that is,\" said {f}.]\n"
     "[So they took the first bus to {v2}.|So the next day they walked to {v2}.|{f} hitched up the {pet2}, and they drove to {v2}.] [They asked in every street.|At the café they were told the way.] "
     "[At first nobody knew the name.|The first house was empty, and so was the second.] [Then a boy pointed to a little house by the river.|But behind the church, at number {num2}, Station Road, a door opened.]\n"
     "{e} put on {ehis} glasses and read. [Then {ehe} was quiet for a long time.|{Ehis} hands shook a little.] \"[It is from my brother|It is from my oldest friend],\" {ehe} said. \"[He asks me to forgive him. I did that long ago|He invites me to tea].\" "
     "[\"Is it too late?\" asked {h}. \"No,\" said {e}. \"I will write to him today.\"|\"Then you had better write back,\" said {h}, and they all laughed.] "
     "[{h} took the answer to the post {himself}.|And this time the letter was sent at once.|{h} put the new letter into the box and listened to it fall.]")

plot("race",
     "{S} [set out to win the boat race|entered the great boat race] on the [river|lake] at {v2}. {He} had [built the little boat all by {himself}|painted {his} boat bright red|practised for many weeks].",
     "[\"I will be faster than you,\" laughed {f}.|{f} was there too, with a fine new boat.] [\"Ready, steady, go!\" called {e}.|{e} waved a flag, and off they went.] "
     "[Soon {h} was ahead of all the others.|At the first bend {h} was in front.]\n"
     "Then there was a [splash|cry]. [{f}'s boat had turned over!|{f} had fallen into the water!] "
     "[{h} looked at the finish. It was so near!|{h} could already see the prize, a {obj}, shining on the bank.] [But {he} turned around.|But {he} did not think twice.] "
     "\"[Hold on to my oar|Take my hand]!\" {he} called, and pulled {f} out of the water. [Meanwhile the other boats went past, one after another.|One by one, the others went by.]\n"
     "So they came in last, [the two of them in one boat|wet and shivering, in one small boat]. [But everyone on the bank was clapping.|But the people cheered louder than for the winner.] "
     "[{e} gave the prize to the winner, but to {h} {ehe} gave {ehis} own hat.|\"You have lost the race,\" said {e}, \"but you have won something better.\"] "
     "[\"Next year we will row together,\" said {f}.|{f} said, \"I will never laugh at your boat again.\"]",
     weather=["fair", "windy"])

plot("dark",
     "{S} [lay in bed and could not sleep|woke up all of a sudden]. [Something was scratching at the window|There was a strange noise in the attic][. Scratch, scratch, scratch|].",
     "[\"Is it a ghost?\" {h} whispered.|{h} pulled the blanket over {his} head.] [The noise stopped, and then it began again.|The clock struck two.] "
     "[{He} thought of what {his} {gran} used to say: \"What you can see is never as bad as what you cannot see.\"|\"I will count to ten,\" {he} thought, \"and then I will look.\"]\n"
     "So {h} lit a candle and [crept up the stairs|went to look], with {his} heart beating fast. [Step by step the noise came nearer.|The floor creaked under {his} feet.] "
     "[{He} opened the door, and two shining eyes looked at {him}.|Two round eyes shone in the light of the candle.] [It was only {a_wild}!|But it was not a ghost at all. It was {a_wild}!] "
     "[It had come in through a hole in the roof and could not find the way out.|One of its feet was caught in a piece of string.]\n"
     "\"[You are more afraid than I am|Do not be afraid],\" said {h} softly. [{He} opened the window wide and stood aside.|Very carefully {he} set it free and opened the window.] "
     "[It looked back once and was gone.|For a moment it sat still, and then it was off into the night.] "
     "[Every now and then, {h} still hears a little scratching, and then {he} smiles.|In the morning {he} told {f} about it, and they put out some bread for it.]")

plot("well",
     "{S} let down the bucket, and it came up empty. The well was dry!",
     "[It had not rained in {v} for two months.|All summer long there had been no rain in {v}.] [The leaves hung down, and the cows were thirsty.|The stream was gone, and even the ducks had left.] "
     "[Only {e} still had water, in a deep well behind a high wall.|Only behind {e}'s high wall was there still water.] [\"It is mine,\" said {e}, and locked the gate.|But {e} was afraid that it would run out, and {ehe} locked the gate.]\n"
     "[That night {h} sat by the window and thought.|{h} thought about it for a long time.] [Then {he} took the last cup of water in the house and carried it to {e}'s old apple tree.|In the house there was one jug of water left. {h} took it and watered {e}'s {flowers} outside the wall.] "
     "\"[Why do you do that|What are you doing there]?\" asked {e}. \"[Everyone is thirsty|Because everyone is thirsty],\" said {h}.\n"
     "{e} [was ashamed|grew red] and said nothing. [But in the morning the gate stood open.|But then {ehe} took out the key and opened the gate.] "
     "[Everyone came with jugs and pails, and there was enough for all.|All day long the people of {v} came with buckets, and the well did not run dry.] "
     "[On the seventh day the rain came.|And that very evening, the first drops began to fall.] [{h} and {e} stood in the middle of it and laughed.|They all ran out into the street and danced in the rain.]",
     weather=["fair"])

plot("cafe",
     "{S} [opened a small café|opened a little café with four tables] [on Bridge Street|by the harbour|across from the station], but nobody came.",
     "[Every day {he} cooked {food2}, and every evening {he} ate it alone.|Day after day the chairs stood empty.] [\"People here do not like new things,\" said {f}.|{h} counted the coins in the tin. There were only {num}.]\n"
     "Then, on a [rainy|cold] evening, {e} stopped in front of the window[ to get out of the wind|]. [{Ehe} had an old coat and no money.|{Ehis} coat was thin, and {ehis} pockets were empty.] "
     "[\"Come in,\" said {h}. \"The soup is hot, and it costs nothing today.\"|\"Sit down,\" said {h}. \"I have far too much soup.\"] "
     "[{e} ate slowly and said only, \"Thank you.\"|{e} ate two bowls and told stories of the sea.]\n"
     "[The next day {e} came back, and {ehe} brought three friends.|The next evening, there was a knock. It was {e}, with the whole choir.] [Their friends brought other friends.|Soon people stood in line at the door.] "
     "[By spring, there was not one empty chair.|Before long {h} had to buy more tables.] "
     "[But one table by the stove is always kept for {e}.|On the wall hangs a sign: \"The soup is hot. Come in.\"|{f} came to help, and {e} told {ehis} stories every Friday.]",
     jobs=["cook"])

plot("clock",
     "{S} noticed that the great clock [on the church tower|in the square] had stopped. It stood at [ten past four|half past nine|five to three].",
     "[Without it, everything in {v} went wrong.|Soon all of {v} was in a muddle.] [The baker opened too late, the school too early, and the train left without anyone.|Nobody knew when to eat, and the hens did not know when to sleep.] "
     "[\"It is too old,\" said {e}. \"Nobody can mend it.\"|{e} shook {ehis} head. \"It has run for a hundred years. Now it is tired.\"]\n"
     "But {h} [took a lamp and climbed the tower|climbed up the long ladder] with {f}. [Inside there were wheels as big as tables.|It was dark and dusty, and spiders hung everywhere.] "
     "[They looked and listened.|{h} looked at every wheel, one after another.] [Then {f} held up the lamp. \"Look!\" {fhe} whispered.|\"Quiet,\" said {f}. \"What is that?\"] "
     "Between two wheels {a_wild2} had built a nest, with [three|four|five] tiny eggs.\n"
     "[\"We cannot take it away,\" said {h}. \"We must wait.\"|\"Then the clock must wait,\" said {h}.] [So for three weeks {he} rang the bell by hand, every hour.|So {v} waited, and {h} rang a hand bell every hour.] "
     "[When the young birds had flown, {h} gave the wheel a gentle push.|At last the little birds flew away, and {h} pushed the first wheel.] Tick, tock, went the clock. "
     "[And it has kept good time ever since.|And everyone in the square cheered.]",
     weather=["fair", "windy", "wet"])

plot("map",
     "{S} found [an old map in a bottle|a map behind a loose brick|a map inside an old coat]. [There was a red cross on it|In one corner there was a small red cross].",
     "\"[A treasure|That must be a treasure]!\" [cried|said] {f}. [They took a spade, a rope and some {food2}.|At once they packed a spade and a lunch of {food2}.] "
     "[The map led them past the mill, over the brook and up the hill.|They went forty steps north from the old oak, just as the map said.|They had to cross the stream and climb over two walls.]\n"
     "[There they dug until their hands were sore.|They dug and dug.] [At last the spade struck something hard.|At first there were only stones, but then there was a knock.] It was [an iron box|a wooden chest]. "
     "[Inside there was no gold.|But there was no gold in it, and no silver.] [There was only a bag of seeds and a note.|They found a handful of seeds, and a letter.] \"[Plant me and wait|The best treasure takes time],\" [it said|said the note].\n"
     "[{f} was disappointed, but {h} laughed.|\"Is that all?\" asked {f}. \"Let us try it,\" said {h}.] They planted the seeds on the hill[ and watered them|]. "
     "[Years went by.|One year went by, and then another.] Today [a whole row of trees stands|seven tall trees stand] there, full of {fruits}, and [every child in {v} may eat from them|all of {v} comes to pick them in autumn]. "
     "[\"It was a treasure after all,\" says {f}.|And {h} still keeps the map.]")

plot("bridge",
     "{S} came to the river and saw that the old bridge was gone. [The flood had carried it away|In the night the water had taken it].",
     "On the other side stood {f} with a {pet} on a rope. \"[How shall we ever meet again|Now I cannot come to you]?\" {fhe} called. "
     "[The nearest bridge was a whole day away.|There was only one boat, and it was much too small for the wild water.]\n"
     "\"[We will build a new one|Then let us build one],\" {h} called back, \"[you from your side, and I from mine|and we will meet in the middle].\" "
     "[So they cut wood, carried stones and hammered all day.|Every day after work, they carried stones and planks.] [{e} thought that they were foolish.|\"It will never hold,\" said {e}.] "
     "[When the first part fell into the water, {h} began again.|Once the river took it all, but they did not give up.] [Little by little, the two halves grew.|Then {e} lent them a strong rope, and it went faster.]\n"
     "[On the first day of autumn|After {num} weeks], only one plank was missing. {h} and {f} laid it together, [right above the middle of the river|and then they shook hands]. "
     "[An old cat was the first to cross.|{e} was the first to walk across. \"It holds!\" {ehe} said.] "
     "[They named it the Bridge of Two Friends.|In the evening, they sat in the middle of it and ate {food}.]",
     weather=["wet", "fair", "windy"])

plot("wish",
     "{S} [caught a silver fish|found {a_wild} in a trap] [by the river|at the edge of the wood]. \"Let me go,\" it said, \"and you shall have one wish.\"",
     "[{h} was so surprised that {he} almost fell over.|{h} had never heard an animal speak before.] [At once {he} set it free.|Gently, {he} let it go.] \"[Now, what is your wish?|Tell me your wish,]\" it said. "
     "[{h} thought of gold, and of a house with a tower.|{h} could have a golden boat, or a coat of silk.] \"[May I think about it?|Will you give me one day?]\" {he} asked.\n"
     "[On the way home {he} met {f}.|Then {he} went to ask {f}.] \"[I wish that my {gran2} were well again|If only {e} could walk again],\" {fhe} [said|sighed]. "
     "[{h} also met a miller who wished for wind, and a child who wished for snow.|Everyone {h} asked wished for something else.] [All night {he} lay awake.|That night the moon was full, and {h} thought for a long time.]\n"
     "In the morning {he} went back and said, \"[I wish that {f} may be happy|Give my wish to {f}].\" \"[That is a good wish|Nobody has ever asked me for that],\" it said[, and it was gone|]. "
     "[When {h} came home, {f} was dancing in the street.|And when {h} came to {f}, there was laughter in the house.] "
     "[{f} never knew why, but {h} knew.|\"And what did you get?\" you may ask. {h} got a friend for life.]")


# ------------------------------------------------------------------- expansion

def _choose(text, rng):
    """Replaces every [a|b|c] by one of its alternatives, the outermost first."""
    out, i = [], 0
    while i < len(text):
        if text[i] != "[":
            out.append(text[i])
            i += 1
            continue
        depth, parts, start, i = 1, [], i + 1, i + 1
        while depth:
            c = text[i]
            if c == "[":
                depth += 1
            elif c == "]":
                depth -= 1
                if depth == 0:
                    parts.append(text[start:i])
            elif c == "|" and depth == 1:
                parts.append(text[start:i])
                start = i + 1
            i += 1
        out.append(_choose(rng.choice(parts), rng))
    return "".join(out)


def _a(noun):
    return ("an " if noun[0].lower() in "aeiou" else "a ") + noun


def _cap(text):
    return text[0].upper() + text[1:]


def _pronouns(slots, prefix, girl):
    words = {"he": "she", "him": "her", "his": "her", "himself": "herself"} if girl else \
            {"he": "he", "him": "him", "his": "his", "himself": "himself"}
    for key, word in words.items():
        slots[prefix + key] = word
        slots[_cap(prefix + key)] = _cap(word)


def story(rng, wide=False):
    """One story; wide takes the people, places and things from the long lists."""
    girls, boys = (WIDE_GIRLS, WIDE_BOYS) if wide else (GIRLS, BOYS)
    name = rng.choice(sorted(PLOTS))
    incident, follows, weathers, jobs, closing = PLOTS[name]
    s = {}
    girl = rng.random() < 0.5
    _pronouns(s, "", girl)
    _pronouns(s, "f", not girl)
    s["h"] = rng.choice(girls if girl else boys)
    s["f"] = rng.choice(boys if girl else girls)
    elder_woman = rng.random() < 0.5
    _pronouns(s, "e", elder_woman)
    if not wide:
        s["e"] = rng.choice(WOMEN if elder_woman else MEN)
    elif rng.random() < 0.5 or name == "letter":
        s["e"] = ("Mrs " if elder_woman else "Mr ") + rng.choice(WIDE_SURNAMES)
    else:
        s["e"] = rng.choice(["Aunt ", "Grandmother ", "Old "] if elder_woman else ["Uncle ", "Grandfather ", "Old "]) + \
            rng.choice([n for n in (girls if elder_woman else boys) if n not in (s["h"], s["f"])])
    s["shis"] = rng.choice(["his", "her"])
    s["v"], s["v2"] = rng.sample(WIDE_VILLAGES if wide else VILLAGES, 2)
    s["av"] = rng.choice(ADJ_VILLAGE)
    kind = rng.choice(weathers or ["fair", "fair", "wet", "windy", "cold"])
    adjectives, skies = WEATHER[kind]
    s["wadj"] = rng.choice(adjectives)
    s["tod"] = rng.choice(["morning", "morning", "afternoon"] if name != "dark" else ["night"])
    s["early"] = "late" if s["tod"] == "afternoon" else "early"
    s["season"] = {"cold": "winter", "fair": rng.choice(["spring", "summer"])}.get(kind, "autumn")
    s["wday"] = "a " + rng.choice(["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"])
    s["num2"] = str(rng.randint(10, 29))
    s["num"] = str(rng.randint(3, 9))
    s["street"] = rng.choice(["Bridge Street", "Mill Lane", "Church Row", "Harbour Road", "Cherry Lane"])
    s["gran"] = rng.choice(["grandmother", "grandfather", "aunt", "mother", "father"])
    s["gran2"] = rng.choice(["grandmother", "mother", "little sister"])
    s["obj"] = rng.choice(WIDE_OBJECTS if wide else OBJECTS)
    s["keep"] = rng.choice(KEEPSAKES)
    s["pet"] = rng.choice(PETS)
    if name == "pet":
        s["pet"] = rng.choice([p for p in PETS if p not in ("pony", "donkey")])
    if name == "stranger":
        s["pet"] = rng.choice(["donkey", "pony", "old horse"])
    s["pet2"] = rng.choice(["donkey", "pony"])
    s["petname"] = rng.choice(PETNAMES)
    s["wild"] = rng.choice(WILD if name != "music" else ["robin", "owl", "nightingale", "blackbird"])
    if name == "dark":
        s["wild"] = rng.choice(["squirrel", "owl", "swallow", "blackbird", "robin", "bat"])
    s["a_wild"] = _a(s["wild"])
    s["a_wild2"] = _a(rng.choice(["robin", "owl", "swallow", "blackbird"]))
    s["colour"] = rng.choice(COLOURS)
    s["food"] = rng.choice(FOODS if name != "baker" else [f for f in FOODS if "soup" not in f and "stew" not in f])
    s["food2"] = rng.choice(["onion soup", "pea soup", "potato stew"] if name in ("cafe", "snow") else
                            ["warm bread", "honey cake", "gingerbread", "bread and cheese"])
    s["flowers"] = rng.choice(FLOWERS)
    s["fruits"] = rng.choice(FRUITS)
    s["lostplace"] = rng.choice(LOSTPLACES)

    if jobs == ["cook"]:
        job, habits = "cook", ["knew a hundred kinds of soup", "cooked with a wooden spoon and a song"]
    elif jobs:
        job, habits = next(j for j in JOBS if j[0] in jobs)
    else:
        job, habits = rng.choice(JOBS)
    if job == "girl":
        job, habits = ("girl" if girl else "boy"), CHILD
    if job == "postman" and girl:
        job = "postwoman"
    trait = rng.choice(TRAITS)
    s["job"] = job
    s["hj"] = ("little " if job in ("girl", "boy") else "") + s["h"] + ("" if job in ("girl", "boy") else " the " + job)
    s["hj_cap"] = _cap(s["hj"])
    s["did"] = rng.choice(habits).format(**s)
    s["ahero"] = _a(f"{trait} {job}")
    s["ahero_cap"] = _cap(s["ahero"])

    day = _cap(rng.choice(DAYS).format(**s))
    if name == "dark":
        day = rng.choice(["One night", f"One {s['wadj']} night", "Late one night"])
    way = rng.random()
    if way < 0.56:
        s["S"] = s["h"] if rng.random() < 0.4 else s["he"]
        opening = rng.choice(INTROS) + " " + day + ", " + incident
    elif way < 0.74:
        s["S"] = rng.choice([s["h"], f"{s['h']}, {s['ahero']} from {s['v']},", s["hj"]])
        opening = day + ", " + incident
    elif way < 0.87:
        s["S"] = rng.choice([s["h"], f"{s['h']}, {s['ahero']},", s["hj"]])
        first = rng.choice(skies + [f"It was a{'n' if s['wadj'][0] in 'aeiou' else ''} {{wadj}} {{tod}} in {{v}}."])
        opening = first + " " + rng.choice(["That {tod}, " if "{tod}" not in first else "", ""]) + incident
    else:
        s["S"] = rng.choice([s["he"], s["h"]])
        said = rng.choice(["\"What a {wadj} {tod}!\" said {h}", "\"Good {tod2}, {v}!\" called {h}",
                           "\"Today something will happen,\" said {h}", "\"It is going to be a {wadj} day,\" said {h}"])
        if name == "dark":
            said = "\"Good night, everyone,\" said {h}"
        s["tod2"] = s["tod"]
        said = said.replace("a {wadj}", _a(s["wadj"]))
        look = rng.choice([", looking out of the window", ", buttoning up {his} coat", ", stepping out into the street", " to {his} {gran}", ""])
        if "called" in said and "{gran}" in look:
            look = ""
        opening = said + look + ". " + rng.choice(["Soon after, ", "A little later, ", "Not long after that, "]) + incident
    # A subject at the start of a sentence has a capital.
    text = _choose(opening + " " + follows, rng)
    if closing and rng.random() < 0.6:
        options = [c for c in CLOSINGS if "{f}" not in c or ("{f}" in text and name not in ("lighthouse", "pet", "letter", "wish"))]
        for words, plots in UNSUITABLE:
            if name in plots:
                options = [c for c in options if words not in c]
        text += " " + rng.choice(options)
    text = text.replace("fiddle:fiddle", "fiddle").replace("flute:flute", "flute").replace("drum:drum", "drum")
    text = text.format(**s)
    layout = rng.random()
    paragraphs = text.split("\n")
    if layout < 0.35:
        text = " ".join(paragraphs)
    elif layout < 0.55:
        text = paragraphs[0] + " " + paragraphs[1] + "\n" + " ".join(paragraphs[2:])
    return _sentences(text)


def _sentences(text):
    """A subject that opened a sentence as a pronoun gets its capital letter."""
    out = []
    for i, c in enumerate(text):
        if c.islower() and (i == 0 or text[i - 1] == "\n" or (i > 1 and text[i - 2] in ".!?" and text[i - 1] == " ")):
            c = c.upper()
        out.append(c)
    return "".join(out)


if __name__ == "__main__":
    seed = sys.argv[1] if len(sys.argv) > 1 else "1"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    for n in range(count):
        print(story(random.Random(f"{seed}:{n}")))
        print()
