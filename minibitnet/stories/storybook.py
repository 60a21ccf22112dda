"""The words and sentences of the story language that ``entropy.py`` tells, reads and measures.

A rule is text in which
    [one|another]     is a choice; ``[3*one|another]`` gives the first three chances in four
    {hero=people}     draws a word that is not yet in the story, says it and remembers it as ``hero``
    {hero.his}        says a form of a remembered word; ``{hero.His}`` with a capital; ``{he}`` is short for ``{hero.he}``
    <rule x=hero>     goes on with another rule, which may call our hero x; with x=hero.his, {x} says that form
    //                begins a new line.
The options of a choice must differ before any of them draws a word or chooses again: that is what makes a
text readable back.
"""


def table(forms, rows):
    """"a b", "x|y; v|w"  ->  {"a": (x, v), "b": (y, w)}: one column of texts for each form, the first form
    is the word itself."""
    cells = [[" ".join(cell.split()) for cell in row.split("|")] for row in rows.split(";")]
    return dict(zip(forms.split(), zip(*cells, strict=True), strict=True))


def with_article(words):
    """The form ``a``: a kite, an owl."""
    first = next(iter(words.values()))
    return words | {"a": tuple(f"{'an' if word[0] in 'aeiou' else 'a'} {word}" for word in first)}


def with_the(words):
    """Places: the forest, to the forest, in the forest, each with a preposition of its own in the form
    ``at``."""
    return {"it": tuple(f"the {name}" for name in words["name"]),
            "to": tuple(f"to the {name}" for name in words["name"]),
            "at": tuple(f"{at} the {name}" for at, name in zip(words["at"], words["name"]))}


def _people(girls, boys):
    rows = [f"{name}|she|her|her|herself|girl|girl named {name}|{name}'s" for name in girls.split()]
    rows += [f"{name}|he|him|his|himself|boy|boy named {name}|{name}'s" for name in boys.split()]
    return table("name he him his himself child intro s", ";".join(rows))


WORDS = {
    "people": _people("Ada Bella Clara Daisy Emma Flora Grace Hazel Ida Julia Kate Lily Mia Nora Olive "
                      "Poppy Rosa Sara Tess Vera",
                      "Anton Ben Carl Dan Eli Fred George Hugo Ivan Jack Kurt Leo Max Noah Oscar Paul Rob "
                      "Sam Tom Will"),
    "elders": table("who", """the baker; the teacher; the farmer; the nurse; the miller; the queen; the gardener; the doctor; the old sailor;
        the painter; Grandmother; Grandfather; Aunt May; Uncle Joe"""),
    "animals": with_article(table("name says", """fox|barked; rabbit|squeaked; hedgehog|grunted; duck|quacked; owl|hooted; mouse|piped;
        squirrel|chattered; frog|croaked; bear|growled; goat|bleated; cat|purred; crow|cawed; donkey|brayed; goose|honked; lamb|bleated;
        horse|snorted; pig|grunted; turtle|murmured; parrot|screeched; wolf|howled""")),
    "places": with_the(table("at name", """in|forest; at|beach; in|park; by|lake; by|river; on|farm; in|garden; at|mill; in|castle;
        at|harbor; on|hill; in|library; in|meadow; in|village; at|market; by|bridge; by|pond; in|orchard; at|station; in|valley""")),
    "things": with_article(table("name", """kite; drum; boat; ball; lantern; whistle; umbrella; scarf; book; basket; bell; hat; ring; map;
        mirror; puppet; violin; key; cup; pillow; bucket; top; flute; box""")),
    "looks": with_article(table("name", "little; old; young; fat; thin; lazy; hungry; sleepy; shaggy; "
                                        "clumsy; elegant; odd")),
    "colors": with_article(table("name", "red; blue; green; yellow; white; brown; golden; silver; purple; "
                                         "orange; pink; gray")),
    "spots": table("where", """under the bench; behind the old wall; in a hollow tree; on top of a rock; under a heap of leaves;
        behind the well; between two roots; in the tall grass; inside a barrel; next to the gate; among the roses; on the roof of a shed"""),
    "fruits": table("one many", """apple|apples; pear|pears; plum|plums; cookie|cookies; bun|buns; carrot|carrots;
        lemon|lemons; nut|nuts; cherry|cherries; cake|cakes; orange|oranges; peach|peaches; mushroom|mushrooms; egg|eggs"""),
    "numbers": table("n less1 less2 less3", """five|four|three|two; six|five|four|three; seven|six|five|four; eight|seven|six|five;
        nine|eight|seven|six; ten|nine|eight|seven; eleven|ten|nine|eight; twelve|eleven|ten|nine"""),
    "traits": with_article(table("name", "kind; clever; brave; curious; gentle; polite; patient; cheerful; "
                                         "quiet; funny; careful; loyal")),
    "hobbies": table("to ing", """sing|singing; draw|drawing; climb trees|climbing a tree; pick flowers|picking flowers; fish|fishing;
        dance|dancing; read|reading; whistle|whistling; skip stones|skipping stones; count birds|counting birds;
        jump over puddles|jumping over puddles; tell jokes|telling jokes; look at clouds|looking at clouds;
        hunt for beetles|hunting for beetles"""),
    "moods": table("felt did now", """sad|sighed|happy; lonely|wept|glad; worried|frowned|calm; bored|groaned|full of ideas;
        angry|stamped|peaceful; tired|yawned|wide awake; shy|blushed|proud; nervous|trembled|sure of everything"""),
    "weathers": with_article(table("name end", """sunny|the sun went down; rainy|the rain stopped; windy|the wind grew still;
        snowy|the moon shone on the snow; foggy|the fog lifted; stormy|the storm was over; cloudy|the clouds drifted apart;
        frosty|the stars came out""")),
    "deeds": table("do did", """water the tomatoes|watered the tomatoes; feed the hens|fed the hens; sweep the floor|swept the floor;
        mend the fence|mended the fence; wash the dishes|washed the dishes; paint the door|painted the door;
        light the stove|lit the stove; bring some milk|brought some milk; carry the wood|carried the wood; write a letter|wrote a letter;
        shut the window|shut the window; dig up the potatoes|dug up the potatoes; ring the church bells|rang the church bells;
        buy some bread|bought some bread"""),
    "questions": table("ask answer", """Why is the sea salty|The sea is salty because the rivers carry salt into it;
        Why do the leaves fall|The leaves fall because the trees want to sleep in winter;
        Why is the night dark|The night is dark because the sun is on the other side of the world;
        Where do the swallows go|The swallows go south, where it is warm;
        How do bees find their way|Bees find their way by watching the sun;
        Why does ice float|Ice floats because it is lighter than water; How old is this oak|An oak is as old as the number of its rings;
        Why do cats have whiskers|Cats have whiskers to feel their way in the dark;
        Where does the rain come from|The rain comes from the clouds, and the clouds come from the sea;
        Why do stars twinkle|Stars twinkle because the air is never still; How do fish breathe|Fish breathe with their gills;
        What makes the wind blow|Warm air rises, and the wind fills the empty place"""),
}

RULES = """
story:
    <opening> <outing>//[<lost>|<promise>|<sharing>|<question>|<owners>|<race>|<wish>]//<closing>

opening:
    [2*Once upon a time there was|Once there lived|There was once|This is the story of|Long ago there was|Far away lived
    |Here is the story of] {trait=traits.a} {hero=people.intro}, who [liked|loved|wanted|knew how] to {hobby=hobbies}.

outing:
    [3*One {weather=weathers} [morning|afternoon|day|Sunday|Monday|holiday]|On {weather=weathers.a} [morning|afternoon|day|Sunday|Friday]]
    {he} [2*went|2*walked|ran|hurried|wandered|set off|strolled|cycled] {place=places.to}[, feeling [rather|very|a little] {mood=moods}.
    | and felt {mood=moods}.|. {He} was {mood=moods} and {mood.did}.]

lost:
    {His} [best|favorite|newest|finest|dearest] toy, {color=colors.a} {thing=things} from {elder=elders},
    [disappeared|vanished|got lost|fell down] [on the way|while {he} was {hobby.ing}].
    //["Where is my {thing}?"|"Oh no, my {thing}!"|"My {color} {thing}!"] [cried|sobbed|shouted|called] {hero}.
    {look=looks.A} {animal=animals} [came along|heard {him}|looked up|stopped]. ["Have you seen my {color} {thing}?" asked {hero}.
    |"Please help me," said {hero}.]
    "[Yes|Of course|Certainly|Perhaps]," {animal.says} the {animal}. "[Look|Go and look|Try] {spot=spots}."
    //[3*There, {spot},|And really, {spot}] [lay|was] the {color} {thing}.
    ["I will never lose it again," [said|promised|whispered] {hero}.|"{elder.Who} will be so [pleased|happy|glad]," said {hero}.
    |{hero} carried the {thing} home [carefully|proudly|with both hands].|The {look} {animal} got a [kiss|hug|medal].]

promise:
    "[Will you|Could you|Can you] {deed=deeds} [today|for me|before supper|tonight]?" {elder=elders} had asked {him}.
    "[Yes, I promise|I promise|You have my word|Gladly]," {he} had [answered|said].
    //But {place.at} {he} [met|found|noticed] {look=looks.a} {animal=animals},
    and they [played hide and seek|built a tower of stones|looked for treasure|chased butterflies|made a swing|dug a deep hole
    |sang songs|played ball]. "[Oh|Alas|Goodness], I must {deed}!" [cried|said|gasped] {hero}.
    //{He} [ran|hurried|raced|flew] [home|back] [without a rest|through the fields|at once] and {deed.did}, just as {he} had promised.
    "[Thank you|Well done|Bravo], {hero}," said {elder}[.| and gave {him} [a kiss|a coin|a slice of cake|a warm smile|some jam].]

sharing:
    There were {number=numbers} {fruit=fruits.many} in {his} [basket|pocket|bag|backpack|cap].
    {place.At} {look=looks.a} {animal=animals} [sat|lay|slept|rested] [in the shade|by the path|on a log|all alone].
    "[I am so hungry|I have no food|My stomach is empty|Please give me some]," {animal.says} the {animal}.
    [{hero} gave it one {fruit}, <recount now=number.less1 less=number.less2 more=number>
    |So {hero} gave it two {fruit.many}, <recount now=number.less2 less=number.less3 more=number.less1>]

recount:
    and [then {he} had|that left|now there were] {now}.
    //[Later|Soon|At home|Near a gate] {he} met {friend=people}.
    "[How many {fruit.many} do you have|How many {fruit.many} are there|May I count the {fruit.many}]?" asked {friend}.
    "{Now}," [said|answered] {hero}.
    [{hero} handed {friend.him} one, and {less} {fruit.many} were left. <supper total=less>
    |"Take one of mine," said {friend}. So {hero} had {more} {fruit.many}. <supper total=more>]

supper:
    [{He} put all {total} [on the table|in a row].|{He} counted them again: {total} {fruit.many}.
    |{He} dreamed of {total} [singing|flying|giant] {fruit.many}.]

question:
    All [day|week|morning] {he} [wondered|asked {himself}|had wondered]: "{question=questions}?"
    //[First|At once|So] {he} asked {look=looks.a} {animal=animals}. "[I do not know|Nobody told me|Who knows|Let me sleep],"
    {animal.says} the {animal}. "[Ask|Go and ask|You should ask|Better ask] {elder=elders}."
    //"[That is simple|Listen well|What a good question|Sit down]," said {elder}. "{question.answer}."
    //[Later|Soon|Then] {hero} [met|saw] the {look} {animal} again. "[Now I can tell you|I found out|I know it]! {question.answer}."

owners:
    There {he} [met|found|saw] {first=people} and {second=people}.
    {hero} had {mine=things.a}, {first} had {other=things.a}, and {second} had {third=things.a}.
    They [played|laughed|ran about] until {look=looks.a} {animal=animals} [came by|joined in|came to watch].
    //[The {mine} was gone! <search owner=hero lost=mine near=first toy=other far=second spare=third>
    |The {other} was gone! <search owner=first lost=other near=second toy=third far=hero spare=mine>
    |The {third} was gone! <search owner=second lost=third near=hero toy=mine far=first spare=other>]

search:
    {owner} [cried|looked everywhere|turned pale|called for help]. [Then {near} saw it {spot=spots}.|But {far} found it {spot=spots}.]
    //"Whose {lost} is this?" asked the {look} {animal}. "It is {owner.s} {lost}," they [told it|answered|shouted].
    ["And the {toy}?" "That is {near.s}."|"And whose {spare} is that?" "It is {far.s}."|"So the {toy} must be {near.s}!"]
    [{owner} [took|hugged|kissed] {owner.his} {lost}.|And {owner} even let the {animal} play.]

race:
    {place.At} three animals [wanted to|were about to|met to] race: {a=animals.a}, {b=animals.a} and {c=animals.a}.
    "[Who will win|Who is the fastest|Who is your favorite]?" asked {elder=elders}. "The {a}," [said|guessed] {hero}.
    //[The {a} won, <second gold=a x=b y=c>|The {b} won, <second gold=b x=a y=c>|The {c} won, <second gold=c x=a y=b>]

second:
    [the {x} came second, and the {y} was last. <prizes silver=x bronze=y>
    |the {y} came second, and the {x} was last. <prizes silver=y bronze=x>]

prizes:
    The {gold} got {prize=things.a}, and the {silver} got {next=things.a}.
    //"[Who was second|And who came second]?" asked [a late guest|somebody|{elder}]. "The {silver}, and here is the {next}," said {hero}.
    "[And the last one|And the slowest]?" "The {bronze}."

wish:
    It was almost {friend=people.s} birthday. ["I wish for|"What I want most is] {color=colors.a} {thing=things},"
    {friend} had [told {him}|said|whispered].
    {place.At} {elder=elders} had {other=things.a} and {spare=things.a} [to sell|in a cart|on a blanket], but no {thing}.
    //"[We can|Let us|I will help you to] make {color.a} {thing} for {friend}," said {elder}.
    //[After a day of work|The next day|A day later|On Saturday] {friend} opened {hero.s} [present|parcel].
    "{color.A} {thing}! [Just what I wished for|My wish came true|Thank you so much]!"
    [{friend} jumped for joy.|{hero} was as happy as {friend}.]

closing:
    [When {weather.end}, {hero} left {place}, no longer {mood} but {mood.now}.
    |{hero} [came home|went to bed] {mood.now}, not {mood}. What {trait.a} {child}!
    |That night {hero} was {mood.now} again and dreamed of {hobby.ing}.
    |Then {weather.end}, and {he} was {mood.now}. "My {trait} {child}," said {his} [mother|father|sister|brother].]
"""
